"""Two groups of seeds beside each other: whether one setting is better, whatever the seed.

Both were tested on the same examples. Each seed of A is paired with the same seed of B, and the
mean of their differences has Student's interval.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.comparison import words
from pipeline.comparison.paired import Estimate
from pipeline.comparison.side import deciding, unlike
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.seeding import results
from pipeline.seeding.results import Results
from pipeline.settings.params import leaves
from pipeline.trials.spread import spread
from pipeline.trials.tables import lines

METRICS = ("accuracy", "loss")
LEAST = 2  # seeds that a deviation needs


@dataclass(frozen=True)
class Groups:
    """Two groups, which have some seeds in common."""

    a: Results
    b: Results
    titles: tuple[str, str]

    @property
    def seeds(self) -> list[int]:
        """The seeds that both have."""
        return [seed for seed in self.a.scores if seed in self.b.scores]

    def values(self, metric: str) -> dict[str, list[float]]:
        """Return a metric of A, of B, and the difference B - A, seed by seed."""
        a, b = ([group.scores[seed][metric] for seed in self.seeds] for group in (self.a, self.b))
        return {"a": a, "b": b, "difference": [y - x for x, y in zip(a, b, strict=True)]}

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings that are not the same, with the value of `a` and of `b`."""
        a, b = (
            leaves(one.about.get("settings", {})) | deciding({}, one.about.get("data", {}))
            for one in (self.a, self.b)
        )
        return unlike(a, b)

    @property
    def sentence(self) -> str:
        """The conclusion."""
        mean = f"the mean of {len(self.seeds)} seeds"
        points = _mean(self.values("accuracy")["difference"]).points
        value, low, high = points
        if low == high:
            return (
                f"B - A is {value:+.2f} points with every seed, so what a seed "
                "moves is not known: compare one of each, as A/0 and B/0."
            )
        if low <= 0 <= high:
            return (
                f"The seeds do not tell them apart: B - A is {value:+.2f} points, "
                f"{mean}, 95 % interval {low:+.2f} to {high:+.2f}."
            )
        return f"{words.better(points)}, {mean}."

    def report(self) -> str:
        """Return the tables above the sentence."""
        rows = [words.row(name, *map(_mean, self.values(name).values())) for name in METRICS]
        parts = [
            f"A  {self.titles[0]}",
            f"B  {self.titles[1]}",
            f"Means of the same {len(self.seeds)} seeds, each tested on the same examples of "
            f"{self.a.about.get('dataset')}; 95 % intervals (Student), of B - A seed by seed.",
            "",
            *lines([words.HEADER, *rows]),
            *words.settings(self.settings),
        ]
        return "\n".join(parts)

    def numbers(self) -> dict[str, Any]:
        """Return the contents of comparison.json."""
        metrics = {
            metric: {
                name: {"values": values, **spread(values)._asdict()}
                for name, values in self.values(metric).items()
            }
            for metric in METRICS
        }
        return {
            "a": {"is": self.titles[0]},
            "b": {"is": self.titles[1]},
            "seeds": self.seeds,
            **metrics,
            "settings": self.settings,
            "methods": {"difference": "Student's 95 % interval of the mean, paired by seed"},
        }

    def draw(self, path: Path) -> None:
        """Draw the accuracy of both for each seed, and the difference with its interval."""
        from matplotlib.ticker import MaxNLocator

        from pipeline.report.figures import saved

        values = self.values("accuracy")
        _, low, high = _mean(values["difference"])
        with saved(path, 9, 4) as figure:
            both, apart = figure.subplots(1, 2)
            both.scatter(self.seeds, values["a"], label="A", zorder=3)
            both.scatter(self.seeds, values["b"], label="B", zorder=3)
            both.legend(frameon=False)
            both.set(xlabel="Seed", title="Test accuracy")
            apart.scatter(self.seeds, values["difference"], color="C2", zorder=3)
            apart.axhline(0, color="0.5", lw=1)
            apart.axhspan(low, high, color="C2", alpha=0.15, lw=0)
            apart.set(xlabel="Seed", title="B - A, and the 95 % interval of its mean")
            for axes in (both, apart):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                axes.grid()


def find(a: str, b: str) -> Groups | None:
    """Return two groups that can be compared, by their folders; None if neither is a group.

    Raises
    ------
    UserError
        If one alone is, they were tested on other examples, or have too few seeds in common.
    """
    there = [(Path(name) / results.SUMMARY).exists() for name in (a, b)]
    if not any(there):
        return None
    if not all(there):
        one, other = (a, b) if there[0] else (b, a)
        raise UserError(
            f"{one} is a group of seeds, and {other} is not: name two groups, or one seed of it, "
            f"as {one}/0"
        )
    first, second = Path(a), Path(b)
    found = Groups(results.read(first), results.read(second), (shown(first), shown(second)))
    for key in ("dataset", "test_labels_sha256"):
        if found.a.about.get(key) != found.b.about.get(key):
            raise UserError("A and B have not answered the same examples: their test sets differ")
    if len(found.seeds) < LEAST:
        raise UserError(
            f"A and B have too few seeds in common: {len(found.seeds)}, and {LEAST} are needed"
        )
    return found


def _mean(values: list[float]) -> Estimate:
    mean, _, low, high = spread(values)
    assert low is not None  # as there are two values or more
    assert high is not None
    return Estimate(mean, low, high)
