"""What the comparison of two sides has found, as numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.comparison import paired
from pipeline.comparison.paired import Counts, Estimate, OfClass
from pipeline.comparison.side import Side, unlike

METHODS = {
    "accuracy": "Wilson's 95 % interval",
    "loss": f"95 % percentile bootstrap of {paired.RESAMPLES} resamples",
    "difference of accuracies": "Newcombe's 95 % interval for paired proportions (method 10)",
    "difference of losses": f"95 % percentile bootstrap of {paired.RESAMPLES} resamples of pairs",
    "p": "McNemar's exact test, two-sided",
    "classes": "McNemar's exact test of each class, with Holm's correction",
}


@dataclass(frozen=True)
class Result:
    """The answers of two sides to the same examples.

    Attributes
    ----------
    a, b : Side
    of : str
        What the examples are called, such as `test examples of mnist`.
    """

    a: Side
    b: Side
    of: str

    @cached_property
    def counts(self) -> Counts:
        """How many examples both have right, only one of them, or neither."""
        return paired.counts(self.a.answers.right, self.b.answers.right)

    @cached_property
    def estimates(self) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
        """Accuracy and loss, if both are known: A's, B's, and B's less A's."""
        a, b = self.a.answers, self.b.answers
        found = {"accuracy": (paired.accuracy(a), paired.accuracy(b), self.counts.difference)}
        if a.losses is not None and b.losses is not None:
            found["loss"] = paired.losses(a.losses, b.losses)
        return found

    @cached_property
    def classes(self) -> list[OfClass]:
        """The counts and the p-value of each class."""
        return paired.classes(self.a.answers, self.b.answers)

    @property
    def differ(self) -> bool:
        """Whether the accuracies differ by more than the choice of the examples explains."""
        return self.counts.difference.apart and self.counts.p < paired.LEVEL

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings that are not the same, with the value of `a` and of `b`."""
        return unlike(self.a.settings, self.b.settings)

    @property
    def code(self) -> list[str]:
        """The files of code that differ, empty if they are not known of both sides."""
        return list(unlike(self.a.code, self.b.code)) if self.a.code and self.b.code else []

    def name(self, number: int) -> str:
        """Return the name of a class."""
        names = self.a.dataset.get("classes", [])
        return str(names[number]) if number < len(names) else str(number)

    def numbers(self) -> dict[str, Any]:
        """Return the contents of comparison.json."""
        a: dict[str, Any] = {"is": self.a.title}
        b: dict[str, Any] = {"is": self.b.title}
        difference: dict[str, Any] = {}
        for name, estimates in self.estimates.items():
            for found, estimate in zip((a, b, difference), estimates, strict=True):
                found.update(estimate.named(name))
        return {
            "a": a,
            "b": b,
            "examples": self.counts.examples,
            "of": self.of,
            "difference": difference,
            **self.counts._asdict(),
            "p": self.counts.p,
            "differ": self.differ,
            "classes": [
                {
                    "class": self.name(one.number),
                    "examples": one.counts.examples,
                    "only_a": one.counts.only_a,
                    "only_b": one.counts.only_b,
                    **one.counts.difference.named("recall"),
                    "p": one.p,
                }
                for one in self.classes
            ],
            "settings": self.settings,
            "code": self.code,
            "methods": METHODS,
        }
