"""Images in which every value is a square of whole pixels.

matplotlib's own images are resampled in compiled code, in which the last bit of a number decides
how large a square is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from pipeline.report.canvas import on_grid

MOST = 128  # rows or columns; a larger image is drawn by the means of neighbouring values


class Cells(AxesImage):
    """An image in axes of a whole multiple of its size, as `canvas.settle` makes them."""

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[NDArray[np.uint8], float, float, Any]:
        """Return the pixels, from the lowest row up, their left and lower end, and no transform."""
        left, bottom, _, top = on_grid(self.axes.bbox.extents, 1).tolist()
        scale = round(top - bottom) // self.get_size()[0]
        colors = self.to_rgba(np.ma.asarray(self.get_array()), bytes=True)
        return colors.repeat(scale, 0).repeat(scale, 1)[::-1], left, bottom, IdentityTransform()


def is_image(shape: Sequence[int]) -> bool:
    """Tell whether values of a shape are an image of one or three channels."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def picture(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as bytes; if it is of other numbers, they are scaled to 0 to 255.

    Each image has a scale of its own, so that it looks the same beside any others.
    """
    if values.dtype != np.uint8:
        low, high = values.min(), values.max()
        values = ((values - low) / ((high - low) or 1) * 255).astype(np.uint8)
    return values[:, :, 0] if values.shape[2:] == (1,) else values


def draw(
    axes: Axes,
    values: NDArray[Any],
    *,
    most: int = MOST,
    cmap: str | None = None,
    norm: Normalize | None = None,
    **limits: float,
) -> Cells:
    """Draw values (rows, columns), or colors (rows, columns, 3), and return the image.

    Parameters
    ----------
    axes : Axes
    values : array
    most : int
        Rows or columns; if there are more, the means of neighbours are drawn.
    cmap, norm, limits
        As matplotlib's `imshow` takes them; limits are vmin and vmax.
    """
    image = Cells(axes, cmap=cmap, norm=norm)
    image.set_data(smaller(values, -(-max(values.shape[:2]) // most)))
    if limits:
        image.set_clim(**limits)
    image.set_extent(image.get_extent())
    axes.add_image(image)
    return image


def number(
    axes: Axes, matrix: NDArray[np.int64], dark: NDArray[np.bool_], size: float, sign: str = ""
) -> None:
    """Write the numbers of a confusion matrix into its cells, in white where a cell is dark."""
    for (row, column), value in np.ndenumerate(matrix):
        right = row == column
        axes.text(
            column,
            row,
            f"{value:{sign}d}" if value else "0",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark[row, column] and not right else "black" if value else "0.75",
            fontweight="bold" if right else "normal",
        )


def smaller(values: NDArray[Any], block: int) -> NDArray[Any]:
    """Return the means of blocks of `block` rows and columns; what is left over is dropped."""
    rows, columns = (max(size - size % block, 1) for size in values.shape[:2])
    parts = [
        values[row:rows:block, column:columns:block]
        for row in range(min(block, rows))
        for column in range(min(block, columns))
    ]
    return mean(parts).astype(values.dtype)


def mean(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the elementwise mean, with sums in the order of the arrays, unlike NumPy's."""
    total = np.zeros(arrays[0].shape)
    for array in arrays:
        total += array
    return total / len(arrays)
