"""The canvas: no rounding of the processor reaches a pixel, and the pictures are matplotlib's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Shape

from pipeline.learning.history import Epoch
from pipeline.report import canvas, cells, figures
from pipeline.report.matrix import confusion_matrix
from pipeline.report.mistakes import mistakes
from pipeline.report.weights import weights

STEADY = [0.5, 0.7, 0.72, 0.74, 0.76, 0.76, 0.75, 0.9]  # turns, straight on, level, and a spike


def draw(folder: Path) -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    names = ["left", "right", "straight on"]
    epochs = [Epoch(n, 1 - value, value, None, value / 2) for n, value in enumerate(STEADY, 1)]
    figures.curves(folder / "loss.png", epochs, "loss")
    figures.curves(folder / "accuracy.png", epochs, "accuracy")
    figures.curves(folder / "one epoch.png", epochs[:1], "accuracy")
    matrix = generator.integers(0, 50, (3, 3))
    confusion_matrix(folder / "matrix.png", matrix, names)
    units = generator.standard_normal((3, 20)).astype(np.float32)
    weights(folder / "weights.png", units, (4, 5), names)
    weights(folder / "bars.png", units, (20,), names)
    images = generator.integers(0, 256, (3, 200, 180)).astype(np.uint8)
    rows = [(k, 0, 1, 0.9) for k in range(3)]
    mistakes(folder / "mistakes.png", rows, names, images)
    mistakes(folder / "table.png", rows, names)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_coordinate_that_is_rounded_otherwise_changes_no_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = draw(tmp_path / "a")
    generator = np.random.default_rng(0)

    def moved(values: Any, parts: int = canvas.GRID) -> Any:
        values = np.asarray(values, np.float64)
        return on_grid(values + generator.uniform(-1e-9, 1e-9, values.shape), parts)

    on_grid: Callable[..., Any] = canvas.on_grid
    for module in (canvas, cells):
        monkeypatch.setattr(module, "on_grid", moved)
    found = draw(tmp_path / "b")
    assert [name for name in expected if found[name] != expected[name]] == []
    assert len(expected) == 8


def test_compiled_code_gets_coordinates_on_the_grid_or_areas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = RendererAgg.draw_path
    drawn = {"on the grid": 0, "outlines": 0}

    def checked(self: Any, gc: Any, path: Shape, transform: Any, rgbFace: Any = None) -> None:  # noqa: N803
        assert (transform.get_matrix() == np.eye(3)).all()
        steps = np.diff(path.vertices[:-1] if path.codes is not None else path.vertices, axis=0)
        straight = (steps == 0).any(1).all()
        if (path.vertices * canvas.GRID % 1 == 0).all():
            drawn["on the grid"] += 1
            assert straight or not gc.get_linewidth() or path.codes is not None
        else:
            drawn["outlines"] += 1
            assert gc.get_linewidth() == 0
            assert rgbFace is not None
        compiled(self, gc, path, transform, rgbFace)

    monkeypatch.setattr(RendererAgg, "draw_path", checked)
    draw(tmp_path)
    assert drawn["on the grid"] > 300
    assert drawn["outlines"] == 3  # the curves


def test_axes_and_cells_are_whole_pixels(tmp_path: Path) -> None:
    with figures.saved(tmp_path / "a.png", 4, 3) as figure:
        left, right = figure.subplots(1, 2)
        values = np.arange(12.0).reshape(3, 4)
        image = cells.draw(left, values, cmap="gray", vmin=0, vmax=11)
        right.plot([0, 1], [0, 1])
    for axes in (left, right):
        extents = axes.bbox.extents
        np.testing.assert_allclose(extents, extents.round(), atol=1e-9)
    x0, y0, x1, y1 = left.bbox.extents.round().astype(int)
    picture = mpl.image.imread(tmp_path / "a.png")[360 - y1 : 360 - y0, x0:x1, 0]
    scale = (y1 - y0) // 3
    inside = picture[: 3 * scale, : 4 * scale].reshape(3, scale, 4, scale)[:, 3:-3, :, 3:-3]
    assert scale > 20
    assert (inside == inside[:, :1, :, :1]).all()  # but for the spines at the rim
    np.testing.assert_allclose(inside[:, 0, :, 0], values / 11, atol=1 / 255)
    assert image.get_size() == (3, 4)


def test_an_outline_is_the_line() -> None:
    corners = canvas.outline(np.array([[0.0, 0.0], [30.0, 40.0]]), 10)
    np.testing.assert_array_equal(corners, [[-4, 3], [26, 43], [34, 37], [4, -3]])
    points = np.array([[10.0, 10.0], [60.0, 80.0], [110.0, 70.0], [190.0, 90.0]])
    found = []
    for made in (canvas.Renderer, RendererAgg):
        renderer = made(200, 100, 72)
        gc = renderer.new_gc()
        gc.set_linewidth(3)
        renderer.draw_path(gc, Shape(points), mpl.transforms.IdentityTransform())
        found.append(np.asarray(renderer.buffer_rgba())[:, :, 3].astype(int))
    assert found[0].sum() == pytest.approx(found[1].sum(), rel=0.02)
    assert np.abs(found[0] - found[1]).mean() < 0.2  # of 255: they differ at the ends and corners


def test_large_images_are_put_together() -> None:
    values = np.arange(35, dtype=np.uint8).reshape(5, 7)
    np.testing.assert_array_equal(cells.smaller(values, 2), [[4, 6, 8], [18, 20, 22]])
    assert cells.smaller(values, 1).tolist() == values.tolist()
    assert cells.smaller(np.ones((1, 500, 3)), 4).shape == (1, 125, 3)
    assert cells.draw(Figure().subplots(), np.ones((321, 40))).get_size() == (107, 13)


def test_a_mean_is_added_in_order() -> None:
    parts = [np.full((2, 3), value) for value in (1e16, 1.0, 1.0, -1e16)]
    assert (cells.mean(parts) == (1e16 + 1.0 + 1.0 - 1e16) / 4).all()
    grey = [np.full(2, value, np.uint8) for value in (200, 100)]
    assert cells.mean(grey).tolist() == [150, 150]
