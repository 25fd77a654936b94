"""Images whose every value is a square of whole pixels.

matplotlib's own resample in compiled code, where a last bit decides how large they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.transforms import IdentityTransform
from numpy.typing import NDArray

from pipeline.report.canvas import on_grid

MOST = 160  # rows or columns of an image; of a larger one, neighbours are put together


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


def draw(axes: Axes, values: NDArray[Any], **colors: Any) -> Cells:
    """Draw values (rows, columns), or colors (rows, columns, 3), and return the image."""
    image = Cells(axes, cmap=colors.pop("cmap", None))
    image.set_data(smaller(values, -(-max(values.shape[:2]) // MOST)))
    image.set_clim(**colors)
    image.set_extent(image.get_extent())
    axes.add_image(image)
    return image


def smaller(values: NDArray[Any], block: int) -> NDArray[Any]:
    """Return the means of blocks of so many rows and columns."""
    rows, columns = (max(size - size % block, 1) for size in values.shape[:2])
    parts = [
        values[row:rows:block, column:columns:block]
        for row in range(min(block, rows))
        for column in range(min(block, columns))
    ]
    return mean(parts).astype(values.dtype)


def mean(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the elementwise mean, added in the order of the arrays, as NumPy's own need not be."""
    total = np.zeros(arrays[0].shape)
    for array in arrays:
        total += array
    return total / len(arrays)
