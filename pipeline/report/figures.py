"""The figures, each a function of numbers: the same numbers give the same bytes."""

import logging
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.files import replacing, shown
from pipeline.learning.history import Epoch, text
from pipeline.report.canvas import Canvas, settle

log = logging.getLogger(__name__)
DPI = 120
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e7e7e7",
    "path.simplify": False,
    "text.parse_math": False,  # a name with dollar signs is no formula
}


@contextmanager
def saved(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of that size in inches; write it as a PNG without dates or versions.

    Warnings of matplotlib, such as of letters that its font lacks, are logged with the name of the
    picture.
    """
    with (
        mpl.rc_context(),
        warnings.catch_warnings(action="always", category=UserWarning, record=True) as caught,
        replacing(path) as temporary,
    ):
        mpl.rcdefaults()  # a user's own style must not change the bytes
        mpl.rcParams.update(STYLE)
        figure = Figure((width, height), dpi=DPI, layout="constrained")
        Canvas(figure)
        yield figure
        settle(figure)
        figure.savefig(temporary, format="png", metadata={"Software": None})
    for said in dict.fromkeys(str(warning.message) for warning in caught):
        log.warning("%s: %s", shown(path), said)


def curves(path: Path, epochs: Sequence[Epoch], metric: str) -> None:
    """Draw the `loss`, in nats, or the `accuracy` against the epoch, as in the tutorial."""
    label = metric.capitalize()
    with saved(path, 7, 4) as figure:
        axes = figure.subplots()
        numbers = [row.epoch for row in epochs]
        marker = "o" if len(epochs) == 1 else ""
        for name, key in (("training", metric), ("validation", f"val_{metric}")):
            values = [row.metrics[key] for row in epochs if key in row.metrics]
            if values:
                last = text(metric, values[-1])
                axes.plot(numbers, values, marker=marker, label=f"{name} ({last} at the end)")
        axes.set(xlabel="Epoch", ylabel=label, title=f"{label} against the epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid()
        axes.legend(frameon=False)


def sentence(path: Path, text: str) -> None:
    """Write a sentence where there is nothing to draw."""
    with saved(path, 6, 1.2) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, textwrap.fill(text, 66), ha="center", va="center")


def panels(figure: Figure, titles: Sequence[str], size: float) -> list[Axes]:
    """Return axes without frames in a `grid`, one for each title; those left over are empty."""
    every = figure.subplots(*grid(len(titles)), squeeze=False).ravel().tolist()
    for axes in every:
        axes.set_axis_off()
    for axes, name in zip(every, titles, strict=False):
        axes.set_title(name, fontsize=size)
    return every


def grid(count: int) -> tuple[int, int]:
    """Return the rows and columns in which `count` panels are arranged."""
    columns = min(count, 5 if count <= 20 else 10)
    return -(-count // columns), columns
