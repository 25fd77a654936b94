"""The figure of what a model has learned: pictures, bars, or a sentence that there are none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report import cells
from pipeline.report.figures import grid, panels, saved, sentence
from pipeline.report.lettering import height, inches, longest, short, title, wrapped

Floats = NDArray[np.float64]
MOST_PICTURES, MOST_UNITS = 50, 20
MOST_BARS = 30  # in a row of panels
# A scale ends at one of these times a power of ten, so that figures often have the same scale.
ENDS = (1, 1.5, 2, 3, 5, 7, 10)
BY_CLASS = "Learned weights: red speaks for the class, blue against"
RELATIVE = "weight, less its mean over the classes"
RED, BLUE = "#b2182b", "#2166ac"


def weights(
    path: Path,
    pictures: NDArray[Any] | None,
    shape: Sequence[int],
    classes: Sequence[str],
    features: Sequence[str] | None = None,
) -> None:
    """Draw what `Model.pictures` gives.

    Parameters
    ----------
    path : Path
    pictures : array (n, features), (n, rows, columns), (n, rows, columns, 3) or None
        With two axes, weights by feature, of the classes if n is their number; else pictures.
    shape : sequence of int
        Of an example.
    classes, features : sequence of str
        Names; of features, if they have any.
    """
    if pictures is None or not pictures.size:
        sentence(path, "This model has no picture of its weights.")
        return
    units = pictures.astype(np.float64)
    flat = units.ndim == 2
    by_class = flat and len(units) == len(classes)
    if by_class:
        units = units - cells.mean(list(units))
    if flat and (features or len(shape) == 1):
        names = features or [f"feature {number}" for number in range(units.shape[1])]
        _bars(path, units, names, classes if by_class else None)
    elif cells.is_image(shape) if flat else cells.is_image(units.shape[1:]):
        units = units.reshape(len(units), *shape) if flat else units
        _images(path, units, classes if by_class else None, weights=flat)
    else:
        size = " x ".join(map(str, shape))
        text = f"An example of {size} values is neither an image nor a row of a table,"
        sentence(path, f"{text} so the weights have no picture.")


def end_of(values: Floats) -> float:
    """Return the end of a scale that reaches from -end to end and holds all values."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    exponent = f"{largest:e}".partition("e")[2]  # without a logarithm, whose last bits differ
    return next(end for step in ENDS if (end := float(f"{step}e{exponent}")) >= largest) or 1.0


def _images(path: Path, units: Floats, classes: Sequence[str] | None, *, weights: bool) -> None:
    most = MOST_PICTURES if classes else MOST_UNITS
    shown = units[:most]
    names = classes or [f"unit {number}" for number in range(len(shown))]
    width, size = (1.6, 10) if len(shown) <= MOST_UNITS else (1.3, 8)
    titles = [wrapped(short(name), int(width / inches(1, size))) for name in names[:most]]
    end = end_of(shown)
    colors: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -end, "vmax": end}
    rows, columns = grid(len(shown))
    tall = width + size / 72 * 1.3 * (height(titles) - 1)
    with saved(path, max(width * columns, 3) + 0.9, (tall + 0.15) * rows + 0.6) as figure:
        every = panels(figure, titles, size)
        for axes, unit in zip(every, shown, strict=False):
            if weights and unit.ndim == 3:  # how a pixel counts, whatever its color
                unit = cells.mean(list(unit.transpose(2, 0, 1)))  # noqa: PLW2901
            in_color = unit.ndim == 3
            image = cells.draw(axes, unit / (2 * end) + 0.5 if in_color else unit, **colors)
        text = BY_CLASS if classes else "Learned weights of the first layer"
        title(figure, text + _part(len(shown), len(units), "classes" if classes else "units"))
        if not in_color:
            bar = figure.colorbar(image, ax=every, shrink=0.8)
            letters = int(0.8 * width * rows / inches(1, 10))
            bar.set_label(wrapped(RELATIVE if classes else "weight", letters))


def _bars(
    path: Path, units: Floats, features: Sequence[str], classes: Sequence[str] | None
) -> None:
    """Draw a panel for each class, or one panel with the mean magnitudes over all units."""
    panels = units[:MOST_UNITS] if classes else cells.mean(list(np.abs(units)))[None]
    rows, columns = grid(len(panels))
    most = MOST_BARS // rows
    sizes = np.nan_to_num(np.abs(panels)).max(0)
    chosen = np.argsort(-sizes, kind="stable")[:most]
    end = end_of(panels[:, chosen])
    start = -end if classes else 0.0
    names = [short(features[number]) for number in chosen]
    titles = [wrapped(short(name), 24) for name in classes or [""]]
    places = range(len(chosen))
    width = max(inches(longest(names), 8) + 2.1 * columns, 4)
    tall = (0.2 * len(chosen) + 0.5 + 0.15 * height(titles)) * rows + 0.8
    with saved(path, width + 0.3, tall) as figure:
        every = figure.subplots(rows, columns, squeeze=False)
        for number, axes in enumerate(every.flat):
            if number >= len(panels):
                axes.set_axis_off()
                continue
            values = np.nan_to_num(panels[number, chosen])
            axes.barh(places, values, color=np.where(values > 0, RED, BLUE).tolist(), height=0.7)
            axes.set_title(titles[number], fontsize=10)
            axes.set_xlim(start, end)
            axes.set_xticks(sorted({start, 0.0, end}))
            axes.axvline(0, color="0.3", linewidth=0.8)
            axes.spines["left"].set_visible(False)
            axes.set_ylim(len(chosen) - 0.5, -0.5)
            axes.set_yticks(places, names if number % columns == 0 else [""] * len(names))
            axes.tick_params(labelsize=8, left=False)
        text = BY_CLASS if classes else "Size of the first layer's weights"
        text += _part(len(panels), len(units), "classes") if classes else ""
        title(figure, text + _part(len(chosen), len(features), "features", "largest"))
        figure.supxlabel(RELATIVE if classes else "mean size over the units", fontsize=10)


def _part(shown: int, every: int, what: str, which: str = "first") -> str:
    return f"; the {shown} {which} of {every} {what}" if shown < every else ""
