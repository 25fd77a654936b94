"""A picture of the examples on which two models differ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.comparison.answers import Numbers
from pipeline.comparison.result import Result
from pipeline.metrics import confusion_matrix
from pipeline.report import cells
from pipeline.report.figures import saved
from pipeline.report.lettering import short

COLUMNS, ROWS = 6, 2  # of the examples that one alone has right
MOST_CLASSES = 30  # up to so many, cells have numbers and each class has its name
MOST_LETTERS = 14  # of a name
LARGEST = 10  # inches: a side of the matrix
Image = NDArray[Any]


def draw(path: Path, found: Result, images: Mapping[int, Image]) -> None:
    """Draw the difference of the confusion matrices, and the images of `parting`."""
    count = max(len(found.a.dataset.get("classes", [])), int(found.a.answers.actual.max()) + 1)
    size = min(max(5.2, 0.5 * count + 1.2), LARGEST)
    with saved(path, size + (8.2 if images else 0.4), size) as figure:
        grid = figure.add_gridspec(2 * ROWS, 2 * COLUMNS if images else COLUMNS)
        _matrix(figure, figure.add_subplot(grid[:, :COLUMNS]), found, count)
        if images:
            for place, (name, rows) in enumerate(parting(found).items()):
                for k in range(COLUMNS * ROWS):
                    row, column = divmod(k, COLUMNS)
                    axes = figure.add_subplot(grid[place * ROWS + row, COLUMNS + column])
                    axes.set_axis_off()
                    if k < len(rows):
                        _example(axes, found, images[rows[k]], rows[k], name)
                    if k == 0 and rows:
                        axes.set_title(f"Only {name} is right\n{axes.get_title()}", fontsize=8)
        counts = found.counts
        figure.suptitle(
            f"A: {found.a.title}\nB: {found.b.title}\n{counts.examples:,} {found.of}: "
            f"right by A alone {counts.only_a:,}, by B alone {counts.only_b:,}",
            fontsize=10,
        )


def parting(found: Result) -> dict[str, list[int]]:
    """Return the examples that A alone has right, and those that B alone has right.

    They are sorted by the difference of the losses, the largest first.
    """
    a, b = found.a.answers, found.b.answers
    if a.losses is None or b.losses is None:
        further: Numbers = np.zeros(len(a.actual), np.int64)
    else:
        further = b.losses - a.losses
    of_a, of_b = (np.flatnonzero(one) for one in (a.right & ~b.right, ~a.right & b.right))
    return {
        "A": of_a[np.argsort(-further[of_a], kind="stable")][: COLUMNS * ROWS].tolist(),
        "B": of_b[np.argsort(further[of_b], kind="stable")][: COLUMNS * ROWS].tolist(),
    }


def _matrix(figure: Figure, axes: Axes, found: Result, count: int) -> None:
    """Draw how much more often B gives each answer than A; right answers are not coloured."""
    ours, theirs = (
        confusion_matrix(one.answers.actual, one.answers.predicted, count)
        for one in (found.a, found.b)
    )
    difference = theirs - ours
    mistakes = np.where(np.eye(count, dtype=bool), np.nan, difference)
    most = float(np.nanmax(np.abs(mistakes), initial=0.0)) or 1.0
    image = cells.draw(axes, mistakes, most=count, cmap="RdBu_r", vmin=-most, vmax=most)
    if count > MOST_CLASSES:
        figure.colorbar(image, ax=axes, shrink=0.7)
    else:
        cells.number(axes, difference, np.abs(difference) > 0.6 * most, 8, sign="+")
    places = range(0, count, -(-count // MOST_CLASSES))
    names = [_name(found, number) for number in places]
    turned = max(map(len, names)) > 3
    axes.set_xticks(places, names, rotation=45 if turned else 0, ha="right" if turned else "center")
    axes.set_yticks(places, names)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="Predicted", ylabel="Actual")
    axes.set_title(
        "B's confusion matrix less A's:\nred are mistakes that B makes more often", fontsize=9
    )


def _example(axes: Axes, found: Result, image: Image, row: int, right: str) -> None:
    """Draw an example that one has right, with the class that the other has predicted."""
    other, wrong = ("B", found.b) if right == "A" else ("A", found.a)
    said, actual = (
        _name(found, int(one[row])) for one in (wrong.answers.predicted, wrong.answers.actual)
    )
    cells.draw(axes, cells.picture(image), cmap="gray", vmin=0, vmax=255)
    axes.set_title(f"{right}: {actual}\n{other}: {said}", fontsize=8)


def _name(found: Result, number: int) -> str:
    return short(found.name(number), MOST_LETTERS, 0)
