"""What the comparison of two sides has found, as numbers and as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.comparison import paired
from pipeline.comparison.paired import Counts, Estimate, OfClass
from pipeline.comparison.side import Side

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
    """What two sides have answered to the same examples, which `of` names."""

    a: Side
    b: Side
    of: str

    @cached_property
    def counts(self) -> Counts:
        """How many examples each has right."""
        return paired.counts(self.a.answers.right, self.b.answers.right)

    @cached_property
    def accuracies(self) -> tuple[Estimate, Estimate, Estimate]:
        """A's, B's, and B's less A's."""
        one, other = map(paired.accuracy, (self.a.answers, self.b.answers))
        return one, other, self.counts.difference

    @cached_property
    def losses(self) -> tuple[Estimate, Estimate, Estimate] | None:
        """A's, B's, and B's less A's; None if one side's are not known."""
        ours, theirs = self.a.answers.losses, self.b.answers.losses
        return None if ours is None or theirs is None else paired.losses(ours, theirs)

    @cached_property
    def classes(self) -> list[OfClass]:
        """What there is of each class."""
        return paired.classes(self.a.answers, self.b.answers)

    @property
    def differ(self) -> bool:
        """Whether the accuracies differ by more than the choice of the examples explains."""
        return self.counts.difference.apart and self.counts.p < paired.LEVEL

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """The settings that are not the same, with A's value and B's, None if one has none."""
        return _unlike(self.a.settings, self.b.settings)

    @property
    def code(self) -> list[str]:
        """The files of code that are not the same, as far as both sides' are known."""
        return list(_unlike(self.a.code, self.b.code)) if self.a.code and self.b.code else []

    def name(self, number: int) -> str:
        """Return the name of a class."""
        names = self.a.dataset.get("classes", [])
        return str(names[number]) if number < len(names) else str(number)

    def json(self, sentence: str) -> str:
        """Return all numbers as JSON."""
        sides = [
            {"is": side.title, **_numbers("accuracy", self.accuracies[k]), **self._loss(k)}
            for k, side in enumerate((self.a, self.b))
        ]
        content = {
            "a": sides[0],
            "b": sides[1],
            "examples": self.counts.examples,
            "of": self.of,
            "difference": {**_numbers("accuracy", self.accuracies[2]), **self._loss(2)},
            **self.counts._asdict(),
            "p": self.counts.p,
            "differ": self.differ,
            "classes": [
                {
                    "class": self.name(one.number),
                    "examples": one.counts.examples,
                    "only_a": one.counts.only_a,
                    "only_b": one.counts.only_b,
                    **_numbers("recall", one.counts.difference),
                    "p": one.p,
                }
                for one in self.classes
            ],
            "settings": {key: {"a": a, "b": b} for key, (a, b) in self.settings.items()},
            "code": self.code,
            "methods": METHODS,
            "sentence": sentence,
        }
        return json.dumps(content, indent=2) + "\n"

    def _loss(self, number: int) -> dict[str, float]:
        return _numbers("loss", self.losses[number]) if self.losses else {}


def _numbers(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _unlike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = dict.fromkeys([*ours, *theirs])
    found = {key: (ours.get(key), theirs.get(key)) for key in keys}
    return {key: values for key, values in found.items() if values[0] != values[1]}
