"""Two groups of seeds beside each other: whether one setting is better, whatever the seed.

Both were tested on the same examples. Each seed of A is paired with the same seed of B, and the
mean of their differences has Student's interval.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.comparison.words import aligned, better, settings
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.seeding import results
from pipeline.seeding.results import Results
from pipeline.settings.params import leaves
from pipeline.trials.spread import Spread, spread

METRICS = ("accuracy", "loss")
LEAST = 2  # seeds that a deviation needs


@dataclass(frozen=True)
class Groups:
    """Two groups with the seeds that both have."""

    a: Results
    b: Results
    titles: tuple[str, str]

    @property
    def seeds(self) -> list[int]:
        """The seeds that both have."""
        return [seed for seed in self.a.scores if seed in self.b.scores]

    def values(self, metric: str) -> tuple[list[float], list[float], list[float]]:
        """Return a metric of A, of B, and B's less A's, seed by seed."""
        ours, theirs = ([g.scores[k][metric] for k in self.seeds] for g in (self.a, self.b))
        return ours, theirs, [b - a for a, b in zip(ours, theirs, strict=True)]

    @property
    def settings(self) -> dict[str, tuple[Any, Any]]:
        """The settings that are not the same, with A's value and B's."""
        ours, theirs = (leaves(group.about.get("settings", {})) for group in (self.a, self.b))
        keys = dict.fromkeys([*ours, *theirs])
        found = {key: (ours.get(key), theirs.get(key)) for key in keys}
        return {key: both for key, both in found.items() if both[0] != both[1]}

    @property
    def sentence(self) -> str:
        """What follows."""
        difference = spread(self.values("accuracy")[2])
        if difference.deviation == 0:
            return (
                f"B - A is {100 * difference.mean:+.2f} points with every seed, so what a seed "
                "moves is not known: compare one of each, as A/0 and B/0."
            )
        assert difference.interval_low is not None
        assert difference.interval_high is not None
        low, high = 100 * difference.interval_low, 100 * difference.interval_high
        mean = f"the mean of {len(self.seeds)} seeds"
        if low <= 0 <= high:
            return (
                f"The seeds do not tell them apart: B - A is {100 * difference.mean:+.2f} points, "
                f"{mean}, 95 % interval {low:+.2f} to {high:+.2f}."
            )
        return f"{better(100 * difference.mean, low, high)}, {mean}."

    def report(self) -> str:
        """Return the tables above the sentence."""
        count = len(self.seeds)
        rows = [["", "A", "B", "B - A"]]
        for metric in METRICS:
            ours, theirs, difference = (spread(values) for values in self.values(metric))
            rows.append([metric, _shown(ours), _shown(theirs), _shown(difference, "+")])
        return "\n".join(
            [
                f"A  {self.titles[0]}",
                f"B  {self.titles[1]}",
                f"Means of the same {count} seeds, each tested on the same examples of "
                f"{self.a.about.get('dataset')}; 95 % intervals (Student), of B - A seed by seed.",
                "",
                *aligned(rows),
                *settings(self.settings),
            ]
        )

    def json(self) -> str:
        """Return all numbers as JSON."""
        numbers = {
            metric: {
                name: {"values": values, **spread(values)._asdict()}
                for name, values in zip(("a", "b", "difference"), self.values(metric), strict=True)
            }
            for metric in METRICS
        }
        content = {
            "a": {"is": self.titles[0]},
            "b": {"is": self.titles[1]},
            "seeds": self.seeds,
            **numbers,
            "settings": {key: {"a": a, "b": b} for key, (a, b) in self.settings.items()},
            "methods": {"difference": "Student's 95 % interval of the mean, paired by seed"},
            "sentence": self.sentence,
        }
        return json.dumps(content, indent=2) + "\n"

    def draw(self, path: Path) -> None:
        """Draw the accuracy of both for each seed, and the difference with its interval."""
        from matplotlib.ticker import MaxNLocator

        from pipeline.report.figures import saved

        ours, theirs, differences = self.values("accuracy")
        found = spread(differences)
        with saved(path, 9, 4) as figure:
            both, apart = figure.subplots(1, 2)
            both.scatter(self.seeds, ours, label="A", zorder=3)
            both.scatter(self.seeds, theirs, label="B", zorder=3)
            both.legend(frameon=False)
            both.set(xlabel="Seed", title="Test accuracy")
            apart.scatter(self.seeds, differences, color="C2", zorder=3)
            apart.axhline(0, color="0.5", lw=1)
            if found.interval_low is not None and found.interval_high is not None:
                apart.axhspan(found.interval_low, found.interval_high, color="C2", alpha=0.15, lw=0)
            apart.set(xlabel="Seed", title="B - A, and the 95 % interval of its mean")
            for axes in (both, apart):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                axes.grid()


def find(a: str, b: str) -> Groups | None:
    """Return two groups by their folders; None if neither is one.

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
            raise UserError("A and B have not answered the same examples: another test set")
    if len(found.seeds) < LEAST:
        raise UserError(
            f"A and B have too few seeds in common: {len(found.seeds)}, and {LEAST} are needed"
        )
    return found


def _shown(one: Spread, sign: str = "") -> str:
    value, _, low, high = (f"{number or 0:{sign}.4f}" for number in one)
    return f"{value} ({low} to {high})"
