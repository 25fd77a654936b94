"""The tables of a sweep: its trials, and the spread of each setting over its seeds."""

from collections.abc import Sequence

from pipeline.learning.history import text
from pipeline.trials.ranking import Answer
from pipeline.trials.spread import Spread, spread

INTERVAL = ("interval_low", "interval_high")
METRICS = ("val_accuracy", "val_loss")  # and the objective, if it is another
Cell = str | int | float | None
Row = list[Cell]


def trials(found: Answer) -> list[Row]:
    """Return a header and a row for each trial.

    In a sweep over seeds, a trial has the rank of its setting. In any other, it has the interval of
    its validation accuracy, and a mark if it ties with the best.
    """
    objective = found.objective
    metrics = METRICS if objective in METRICS else (objective, *METRICS)
    first, *others = metrics
    header = ["rank", "trial", "overrides", first, *INTERVAL, "tie", *others, "seconds", "status"]
    rows: list[Row] = [[*header]]
    ties = {one.number for one in found.ties}
    ranked = 0 if found.of_seeds else found.ranked
    for place, setting in enumerate(found.settings, 1):
        for one in setting.trials:
            rank = place if place <= ranked and one.has(objective) else None
            value, *more = (one.metrics.get(name) for name in metrics)
            interval = (not found.over_seeds and one.interval(objective)) or (None, None)
            tie = "tie" if one.number in ties else None
            seconds = None if one.seconds is None else f"{one.seconds:.1f}"
            measured = [value, *interval, tie, *more]
            rows.append([rank, one.number, one.name, *measured, seconds, one.status])
    return rows


def settings(found: Answer) -> list[Row]:
    """Return a header and a row for each setting."""
    name = found.objective
    rows: list[Row] = [["rank", "setting", "seeds", "of", f"{name}_mean", *Spread._fields[1:]]]
    for place, one in enumerate(found.settings, 1):
        values = list(one.values(name).values())
        numbers = spread(values) if values else [None] * len(Spread._fields)
        rank = place if place <= found.ranked and not found.of_seeds else None
        rows.append([rank, one.name, len(values), found.seeds, *numbers])
    return rows


def aligned(rows: Sequence[Row], objective: str) -> str:
    """Return rows as text with aligned columns, without columns that are empty."""
    cells = [
        [_cell(item, name, objective) for name, item in zip(rows[0], row, strict=True)]
        for row in rows
    ]
    columns = [column for column in zip(*cells, strict=True) if any(column[1:])]
    return "\n".join(["", *lines(list(zip(*columns, strict=True))), ""])


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _cell(item: Cell, column: Cell, objective: str) -> str:
    if isinstance(item, float):
        return text(str(column) if column in (*METRICS, objective) else objective, item)
    return "" if item is None else str(item)
