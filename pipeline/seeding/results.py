"""What a group of seeds reaches on the test set: seeds.csv, a row a seed, and seeds.json."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, first_line
from pipeline.files import shown, write_csv, write_text
from pipeline.learning.history import text
from pipeline.report.intervals import sampling_error
from pipeline.trials.spread import Spread, spread
from pipeline.trials.tables import Row

TABLE, SUMMARY = "seeds.csv", "seeds.json"
SHOWN = ("accuracy", "accuracy_low", "accuracy_high", "loss")
NOT_AVERAGED = ("examples", "_low", "_high")  # ends of names


@dataclass(frozen=True)
class Results:
    """What a group of seeds reaches.

    Attributes
    ----------
    scores : dict of int to dict of str to float
        The numbers of evaluation.json, `accuracy`, `loss` and others, by seed, in its order.
    planned : int
        How many seeds were to be trained; those that failed have no scores.
    about : dict
        What the scores are of: the `dataset`, the `test_labels_sha256` of y_test.npy, and the
        `settings` and `choices` of the trainings, without the seed.
    """

    scores: Mapping[int, Mapping[str, float]]
    planned: int
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The scores that every seed has."""
        first, *others = self.scores.values()
        return [name for name in first if all(name in one for one in others)]

    @property
    def metrics(self) -> list[str]:
        """The scores that have a mean over the seeds, `accuracy` and `loss` first."""
        finite = [one for one in self.names if all(map(math.isfinite, self.values(one)))]
        names = [one for one in finite if not one.endswith(NOT_AVERAGED)]
        return sorted(names, key=lambda one: (one != "accuracy", one != "loss"))

    def values(self, metric: str) -> list[float]:
        """Return a score of each seed."""
        return [one[metric] for one in self.scores.values()]

    def spread(self, metric: str) -> Spread:
        """Return the mean over the seeds, its standard deviation and Student's 95 % interval."""
        return spread(self.values(metric))

    @property
    def sampling_error(self) -> float:
        """How far, in 95 of 100 cases, another test set would move the accuracy of one seed."""
        examples = next(iter(self.scores.values()))["examples"]
        return sampling_error(self.spread("accuracy").mean, int(examples))

    def write(self, folder: Path) -> list[Path]:
        """Write both files; return their paths. Numbers of seeds.json have nine digits."""
        write_csv(folder / TABLE, self.table(self.names))
        summary = {
            **self.about,
            "planned": self.planned,
            "seeds": list(self.scores),
            "sampling_error": _rounded(self.sampling_error),
            "metrics": {
                name: {key: _rounded(value) for key, value in self.spread(name)._asdict().items()}
                for name in self.metrics
            },
        }
        write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return [folder / TABLE, folder / SUMMARY]

    def table(self, names: Sequence[str] = SHOWN) -> list[Row]:
        """Return a header and a row for each seed, with the scores that are named."""
        rows: list[Row] = [[seed, *map(one.get, names)] for seed, one in self.scores.items()]
        return [["seed", *names], *rows]

    def means(self) -> list[Row]:
        """Return a header and a row for each metric, with its spread over the seeds."""
        rows: list[Row] = [[name, *self.spread(name)] for name in self.metrics]
        return [["metric", *Spread._fields], *rows]

    def __str__(self) -> str:
        count = len(self.scores)
        of = "" if count == self.planned else f" of {self.planned}"
        mean, *more = (text("accuracy", one) for one in self.spread("accuracy") if one is not None)
        if count == 1:
            line = f"Test accuracy of 1{of} seeds: {mean}; a deviation needs two."
        else:
            deviation, low, high = more
            line = (
                f"Test accuracy over {count}{of} seeds: {mean}, standard deviation {deviation}, "
                f"95 % interval of the mean {low} to {high}."
            )
        error = text("accuracy", self.sampling_error)
        lines = [
            line,
            f"Another test set of this size would move a single accuracy by about ±{error}.",
        ]
        if count > 1 and all(len(set(self.values(name))) == 1 for name in self.metrics):
            lines.append("All seeds give the same: nothing in this setting depends on the seed.")
        return "\n".join(lines)


def read(folder: Path) -> Results:
    """Read the results of a group back from its folder.

    Raises
    ------
    UserError
        If they are not there, or cannot be read.
    """
    table, summary = folder / TABLE, folder / SUMMARY
    try:
        about = json.loads(summary.read_text(encoding="utf-8"))
        with table.open(newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        scores = {int(row.pop("seed")): row for row in rows}
        return Results(scores, about.pop("planned"), about)
    except FileNotFoundError as error:
        raise UserError(
            f"{shown(Path(error.filename))}: not found: `python -m pipeline.seeds` writes it into "
            "the folder of a group of seeds"
        ) from None
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(
            f"{shown(folder)}: cannot be read ({first_line(error)}): the command that has made it, "
            "`python -m pipeline.seeds ...`, makes it again"
        ) from None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.9g}")
