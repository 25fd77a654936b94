"""The figures, each a function of numbers: the same numbers give the same bytes."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from pipeline.files import replacing, shown
from pipeline.learning.history import Epoch, text
from pipeline.report import cells
from pipeline.report.canvas import Canvas, settle

log = logging.getLogger(__name__)
DPI = 120
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e7e7e7",
    "path.simplify": False,
}


@contextmanager
def saved(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of that size in inches; write it as a PNG without dates or versions.

    What matplotlib warns of, as letters that its font lacks, is logged with the picture's name.
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


def loss(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw the loss, in nats, against the epoch, as in the tutorial."""
    _curves(path, epochs, "loss", "Loss", "Loss against the epoch")


def accuracy(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw the accuracy against the epoch."""
    _curves(path, epochs, "accuracy", "Accuracy", "Accuracy against the epoch")


def _curves(path: Path, epochs: Sequence[Epoch], metric: str, label: str, title: str) -> None:
    with saved(path, 7, 4) as figure:
        axes = figure.subplots()
        numbers = [row.epoch for row in epochs]
        marker = "o" if len(epochs) == 1 else ""
        for name, key in (("training", metric), ("validation", f"val_{metric}")):
            values = [row.metrics[key] for row in epochs if key in row.metrics]
            if values:
                last = text(metric, values[-1])
                axes.plot(numbers, values, marker=marker, label=f"{name} ({last} at the end)")
        axes.set(xlabel="Epoch", ylabel=label, title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid()
        axes.legend(frameon=False)


def confusion_matrix(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Draw counts, coloured by the share of the actual class, with the diagonal left uncoloured."""
    count = len(classes)
    size = max(6.0, 0.62 * count + 1.6)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    errors = np.where(np.eye(count, dtype=bool), np.nan, share)
    right = matrix.trace() / max(matrix.sum(), 1)
    with saved(path, size + 1.2, size) as figure:
        axes = figure.subplots()
        top = float(np.nanmax(errors, initial=0.0)) or 1.0
        image = cells.draw(axes, errors, cmap="Reds", vmin=0, vmax=top)
        if count <= 30:
            for row, column in np.ndindex(count, count):
                dark = row != column and share[row, column] > 0.6 * top
                axes.text(
                    column,
                    row,
                    f"{matrix[row, column]}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if dark else "black" if matrix[row, column] else "0.75",
                    fontweight="bold" if row == column else "normal",
                )
        turned = max(len(name) for name in classes) > 3
        axes.set_xticks(
            range(count), classes, rotation=45 if turned else 0, ha="right" if turned else "center"
        )
        axes.set_yticks(range(count), classes)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="Predicted", ylabel="Actual")
        axes.set_title(f"Confusion matrix of the test set, accuracy {right:.2%}")
        bar = figure.colorbar(image, shrink=0.8, format=PercentFormatter(1, decimals=1))
        bar.set_label("mistakes: share of the actual class")


def weights(
    path: Path, weight: NDArray[np.float32], shape: tuple[int, ...], classes: Sequence[str]
) -> None:
    """Draw the columns of a weight matrix (features, units) as images of the data's shape.

    With as many columns as classes there is one image a class; else the first 20 units.
    """
    by_class = weight.shape[1] == len(classes)
    titles = list(classes) if by_class else [f"unit {k}" for k in range(min(20, weight.shape[1]))]
    units = weight.T[: len(titles)].astype(np.float64)
    centred = units - cells.mean(list(units)) * by_class
    limit = float(np.abs(centred).max()) or 1.0
    grid = _grid(len(titles))
    with saved(path, 1.6 * grid[1] + 0.9, 1.75 * grid[0] + 0.4) as figure:
        every = figure.subplots(*grid, squeeze=False)
        for axes, title, unit in zip(every.flat, titles, centred, strict=False):
            pixels = cells.mean(list(unit.reshape(shape[0], shape[1], -1).transpose(2, 0, 1)))
            image = cells.draw(axes, pixels, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_title(title, fontsize=10)
        for axes in every.flat:
            axes.set_axis_off()
        figure.suptitle(
            "Learned weights: red speaks for the class, blue against"
            if by_class
            else "Learned weights of the first layer"
        )
        bar = figure.colorbar(image, ax=every, shrink=0.8)
        bar.set_label("weight, less its mean over the classes" if by_class else "weight")


def mistakes(
    path: Path,
    images: NDArray[Any] | Mapping[int, NDArray[Any]],
    rows: Sequence[tuple[int, int, int, float]],
    classes: Sequence[str],
) -> None:
    """Draw the first 20 of (example, actual, predicted, probability) with its image."""
    shown = rows[:20]
    grid = _grid(max(len(shown), 1))
    with saved(path, 1.75 * grid[1], 2.15 * grid[0] + 0.5) as figure:
        every = figure.subplots(*grid, squeeze=False)
        for axes, (example, actual, predicted, probability) in zip(every.flat, shown, strict=False):
            pixels = images[example]
            cells.draw(axes, pixels, cmap="gray_r", vmin=0, vmax=255)
            axes.set_title(
                f"{classes[predicted]}, {probability:.1%}\nactual: {classes[actual]}", fontsize=9
            )
        for axes in every.flat:
            axes.set_axis_off()
        figure.suptitle(
            "The most confident mistakes: predicted class and its probability, actual class"
            if shown
            else "No mistakes"
        )


def _grid(count: int) -> tuple[int, int]:
    columns = min(count, 5)
    return -(-count // columns), columns
