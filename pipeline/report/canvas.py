"""A canvas on which the same figure has the same pixels, whatever the processor.

Where a processor can compute a product and a sum in one operation with one rounding, compilers use
that. So matplotlib's compiled code computes coordinates on ARM that differ from those on x86 by
1e-13 pixel. That cannot be seen, but it can change a decision, such as how a line turns, which
depends on the sign of an angle. Here it cannot:

- Axes lie on whole pixels, and coordinates on a grid of 1/64 pixel. A coordinate is rounded down if
  its fraction of a grid step is below 1 less the golden ratio, 0.382, else up. A limit of 0.5 would
  be met by fractions that occur in drawings; no fraction with a small denominator is near this one.
- From such coordinates, the compiled code computes without rounding (transforms, the turns of
  horizontal and vertical lines, the halving of curves), or with integers (letters, and how much of
  a pixel is covered). The outlines of slanted lines are computed here, by NumPy, which rounds each
  operation by itself.
- Long curves are not simplified, as that compares distances.
"""

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray

GRID = 64  # parts of a pixel
GOLDEN = (5**0.5 - 1) / 2

Floats = NDArray[np.float64]


def on_grid(values: Any, parts: int = GRID) -> Floats:
    """Return the values, in pixels, as multiples of 1 / parts of a pixel."""
    return np.floor(np.asarray(values, np.float64) * parts + GOLDEN) / parts


def settle(figure: Figure) -> None:
    """Lay the figure out, once and for all, with its axes on whole pixels."""
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    figure.set_layout_engine("none")
    size = figure.bbox.size
    for axes in figure.axes:
        axes.apply_aspect()
        (left, bottom), (right, top) = on_grid(axes.get_position().get_points() * size, 1)
        if axes.images:  # each of its values has a square of whole pixels
            rows, columns = axes.images[0].get_size()
            scale = max(min((right - left) // columns, (top - bottom) // rows), 1)
            left += (right - left - scale * columns) // 2
            bottom += (top - bottom - scale * rows) // 2
            right, top = left + scale * columns, bottom + scale * rows
        axes.set_aspect("auto")
        axes.set_box_aspect(None)
        axes.set_position(Bbox(np.array([[left, bottom], [right, top]]) / size))


def slanted(points: Floats) -> bool:
    """Tell whether a line through points (n, 2) is anywhere neither horizontal nor vertical."""
    steps = np.diff(points, axis=0)
    return bool(np.isfinite(points).all() and (steps != 0).all(1).any())


def outline(points: Floats, width: float) -> Floats:
    """Return the corners of the area of a line through points (n, 2); its turns are flat."""
    points = points[np.append(True, (np.diff(points, axis=0) != 0).any(1))]
    x, y = np.diff(points, axis=0).T
    across = np.stack([-y, x], 1) * (width / 2 / np.sqrt(x * x + y * y))[:, None]
    ends = np.stack([points[:-1], points[1:]], 1)
    left, right = (ends + side[:, None] for side in (across, -across))
    return np.concatenate([left.reshape(-1, 2), right.reshape(-1, 2)[::-1]])


class Renderer(RendererAgg):
    """Agg's renderer, to which all paths and letters are passed with coordinates on the grid."""

    def __init__(self, width: float, height: float, dpi: float):
        super().__init__(width, height, dpi)
        # compiled shortcuts; without them the base class draws one path after the other
        del self.draw_markers, self.draw_path_collection, self.draw_quad_mesh

    def draw_path(self, gc: Any, path: Path, transform: Any, rgbFace: Any = None) -> None:  # noqa: N803
        """Draw a path, moved to the grid."""
        points = on_grid(transform.transform(path.vertices))
        if path.codes is not None or rgbFace is not None or not slanted(points):
            super().draw_path(gc, Path(points, path.codes), IdentityTransform(), rgbFace)
            return
        area = self.new_gc()
        area.copy_properties(gc)
        area.set_linewidth(0)
        corners = outline(points, self.points_to_pixels(gc.get_linewidth()))
        super().draw_path(area, Path(corners), IdentityTransform(), gc.get_rgb())

    def draw_text(self, gc: Any, x: float, y: float, *arguments: Any, **more: Any) -> None:
        """Draw letters, which begin on the grid."""
        super().draw_text(gc, *on_grid([x, y]).tolist(), *arguments, **more)


class Canvas(FigureCanvasAgg):
    """Agg's canvas with this renderer."""

    renderer: Renderer

    def get_renderer(self) -> Renderer:
        """Return the renderer, the same one as long as the size is the same."""
        size = self.get_width_height(physical=True)
        if not hasattr(self, "renderer") or (self.renderer.width, self.renderer.height) != size:
            self.renderer = Renderer(*size, self.figure.dpi)
        return self.renderer
