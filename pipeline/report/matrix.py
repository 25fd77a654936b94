"""The figure of the confusion matrix, for two to 256 classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import BoundaryNorm
from numpy.typing import NDArray

from pipeline.report import cells
from pipeline.report.figures import DPI, saved
from pipeline.report.lettering import MOST, TITLE, height, inches, longest, short, wrapped

# Each share of a class has its colour in every figure, so that two can be compared by eye.
STEPS = (0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
DARK = 0.05  # from this share on, letters are white
NUMBERED = 30  # up to so many classes, the cells have numbers
LARGEST, BESIDE = 16.2, 1.8  # inches: of the figure, and of its colour bar
SMALLEST_SIDE, LARGEST_SIDE, CELL = 5.2, 12.5, 0.7  # inches
THINNED = (1, 2, 5, 10, 20, 50)  # one of so many classes has its name
LINE = 1.25  # height of a line, in sizes of its font


def confusion_matrix(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Draw counts, coloured by the share of the actual class, with the diagonal left uncoloured."""
    count = len(classes)
    size = 10 if count <= NUMBERED and longest(classes) <= MOST // 2 else 8
    side = min(max(CELL * count, SMALLEST_SIDE), LARGEST_SIDE)
    lines = min(max(int(side / count * 72 / (LINE * size) - 0.5), 1), 3)
    names = [wrapped(short(name), MOST // lines + 5) for name in classes]
    label = inches(longest(names), size)
    side = int(min(side, LARGEST - BESIDE - label) * DPI / count) * count / DPI  # whole pixels
    cell = side / count * 72  # points
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    errors = np.where(np.eye(count, dtype=bool), np.nan, share)
    right = matrix.trace() / max(matrix.sum(), 1)
    with saved(path, side + label + BESIDE, side + label + 1) as figure:
        axes = figure.subplots()
        colors = BoundaryNorm(STEPS, 256)
        image = cells.draw(axes, errors, most=count, cmap="Reds", norm=colors)
        if count <= NUMBERED:
            digits = len(str(matrix.max()))
            cells.number(axes, matrix, share >= DARK, min(9, cell / (0.75 * digits)))
        step = next(step for step in THINNED if step * cell >= LINE * size)
        places, shown = range(0, count, step), names[::step]
        level = inches(longest(shown) + 1, size) * 72 <= step * cell
        angle = 0 if level else 45 if count <= NUMBERED and height(names) == 1 else 90
        align = "right" if angle == 45 else "center"
        axes.set_xticks(places, shown, fontsize=size, rotation=angle, ha=align)
        axes.set_yticks(places, shown, fontsize=size)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="Predicted", ylabel="Actual")
        text = f"Confusion matrix of the test set, accuracy {right:.2%}"
        axes.set_title(wrapped(text, int(side / inches(1, TITLE))))
        bar = figure.colorbar(image, shrink=0.8, ticks=STEPS, spacing="uniform")
        bar.ax.set_yticklabels([f"{100 * one:g} %" for one in STEPS])
        bar.set_label("mistakes: share of the actual class")
