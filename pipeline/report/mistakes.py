"""The figure of the most confident mistakes: images, or a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.report import cells
from pipeline.report.figures import grid, panels, saved, sentence
from pipeline.report.lettering import height, inches, longest, short, title, wrapped

SIZE = 9  # of a font, in points
LINE = 1.4 * SIZE / 72  # inches
HEADER = ("example", "predicted", "probability", "actual")
TITLE = "The most confident mistakes"

Mistake = tuple[int, int, int, float]
Images = Sequence[NDArray[Any]] | NDArray[Any]


def mistakes(
    path: Path,
    rows: Sequence[Mistake],
    classes: Sequence[str],
    images: Images | None = None,
) -> None:
    """Draw mistakes.

    Parameters
    ----------
    path : Path
    rows : sequence of (example, actual, predicted, probability)
    classes : sequence of str
        Names.
    images : sequence of array
        The examples' images, (rows, columns), (rows, columns, 1) or (rows, columns, 3), as the
        files have them; without them, the mistakes are rows of a table.
    """
    if not rows:
        sentence(path, "No mistakes: each example of the test set is classified rightly.")
    elif images is None:
        _table(path, rows, classes)
    else:
        _images(path, rows, classes, images)


def _images(path: Path, rows: Sequence[Mistake], classes: Sequence[str], images: Images) -> None:
    width = 1.75
    letters, names = int(width / inches(1, SIZE)), [short(name) for name in classes]
    titles = [
        f"{wrapped(f'{names[predicted]}, {probability:.1%}', letters)}\n"
        f"{wrapped(f'actual: {names[actual]}', letters)}"
        for _, actual, predicted, probability in rows
    ]
    down, across = grid(len(rows))
    size = max(width * across, 3.6), (width + LINE * height(titles)) * down + 0.6
    with saved(path, *size) as figure:
        for axes, values in zip(panels(figure, titles, SIZE), images[: len(rows)], strict=False):
            cells.draw(axes, cells.picture(values), most=180, cmap="gray", vmin=0, vmax=255)
        title(figure, f"{TITLE}: predicted class and its probability, actual class")


def _table(path: Path, rows: Sequence[Mistake], classes: Sequence[str]) -> None:
    names = [wrapped(name, 60) for name in classes]
    texts = [
        (f"{example}", names[predicted], f"{share:.1%}", names[actual])
        for example, actual, predicted, share in rows
    ]
    columns = list(zip(HEADER, *texts, strict=True))
    widths = [inches(longest(column) + 3, SIZE) for column in columns]
    tall = LINE * 1.2 * len(columns[0])
    with saved(path, max(sum(widths), 4) + 0.4, tall + 0.8) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, sum(widths)), ylim=(len(columns[0]), 0))
        axes.set_axis_off()
        for number, column in enumerate(columns):
            for row, text in enumerate(column):
                weight = "normal" if row else "bold"
                place = sum(widths[:number]), row + 0.5
                axes.text(*place, text, fontsize=SIZE, fontweight=weight, va="center")
        title(figure, TITLE)
