"""Figures: the same numbers give the same bytes, whatever the user's style; odd shapes work."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.errors import UserError
from pipeline.learning.history import Epoch, read, text, write
from pipeline.plot import read_csv
from pipeline.report import figures
from pipeline.report.matrix import confusion_matrix
from pipeline.report.mistakes import mistakes
from pipeline.report.weights import end_of, weights
from pipeline.trials import figures as trial_figures
from pipeline.trials.ranking import Answer
from pipeline.trials.spread import Setting
from pipeline.trials.trial_file import Trial

EPOCHS = [Epoch(n, 1 / n, 1 - 1 / n, 1.1 / n, None) for n in range(1, 8)]


def draw(folder: Path) -> None:
    """Draw each figure once."""
    generator = np.random.default_rng(0)
    names = ["left", "right", "straight on"]
    figures.curves(folder / "loss.png", EPOCHS, "loss")
    figures.curves(folder / "accuracy.png", EPOCHS[:1], "accuracy")
    confusion_matrix(folder / "matrix.png", generator.integers(0, 50, (3, 3)), names)
    units = generator.standard_normal((3, 20)).astype(np.float32)
    weights(folder / "weights.png", units, (4, 5), names)
    weights(folder / "bars.png", units, (20,), names)
    images = generator.integers(0, 256, (30, 4, 5)).astype(np.uint8)
    rows = [(k, 0, 1, 0.9) for k in range(20)]
    mistakes(folder / "mistakes.png", rows, names, images)
    mistakes(folder / "table.png", rows, names)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    draw(tmp_path / "a")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9}):
        draw(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        content = path.read_bytes()
        assert content == (tmp_path / "b" / path.name).read_bytes()
        assert b"Software" not in content
    assert len(list((tmp_path / "a").iterdir())) == 7


class Drawn:
    """Figures as they were saved, and the texts that were drawn in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self._texts: dict[Figure, dict[Text, None]] = {}
        draw: Callable[..., None] = Text.draw

        def noted(one: Text, *arguments: Any, **more: Any) -> None:
            if one.get_text():
                self._texts.setdefault(one.get_figure(root=True), {})[one] = None  # type: ignore[arg-type]
            draw(one, *arguments, **more)

        monkeypatch.setattr(Text, "draw", noted)

    @property
    def last(self) -> Figure:
        """The last figure."""
        return [*self._texts][-1]

    @property
    def texts(self) -> list[str]:
        """The texts of the last figure, in one line each."""
        return [one.get_text().replace("\n", " ") for one in self._texts[self.last]]

    def check(self) -> None:
        """Find every text of every figure inside of it, and no title on another text."""
        assert self._texts
        for figure, texts in self._texts.items():
            width, height = figure.bbox.size
            assert max(width, height) < 2000
            boxes = [one.get_window_extent().padded(-1) for one in texts]
            for one, box in zip(texts, boxes, strict=True):
                assert min(box.x0, box.y0) >= -1, one
                assert box.x1 <= width + 1, one
                assert box.y1 <= height + 1, one
            for axes in figure.axes:
                box = axes.title.get_window_extent().padded(-1)
                assert axes.title not in texts or box.count_overlaps(boxes) == 1  # with itself


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Drawn]:
    """Check, in the end, all figures that were drawn, and that matplotlib had nothing to say."""
    found = Drawn(monkeypatch)
    yield found
    found.check()
    assert caplog.messages == []


LONG = [f"{k:02} is a class whose name has sixty letters, which is a lot"[:60] for k in range(47)]


@pytest.mark.parametrize(
    "names",
    [LONG[:2], *(pytest.param(LONG[:n], marks=pytest.mark.slow) for n in (10, 30)), LONG],
    ids=len,
)
def test_long_names_of_classes_are_not_cut(tmp_path: Path, drawn: Drawn, names: list[str]) -> None:
    generator, count = np.random.default_rng(0), len(names)
    confusion_matrix(tmp_path / "m.png", generator.integers(0, 90_000, (count, count)), names)
    assert {*names} <= {*drawn.texts}
    weights(tmp_path / "w.png", generator.standard_normal((count, 49)), (7, 7), names)
    assert {*names} <= {*drawn.texts}
    if count <= 20:
        weights(
            tmp_path / "b.png", generator.standard_normal((count, 60)), (60,), names, LONG + LONG
        )
        assert {*names} <= {*drawn.texts}
    rows = [(k, k % count, 1, 0.999) for k in range(20)]
    mistakes(tmp_path / "i.png", rows, names, generator.integers(0, 256, (20, 9, 9)))
    assert any(f"actual: {names[0]}" in one for one in drawn.texts)
    mistakes(tmp_path / "t.png", rows, names)
    assert {names[0], names[1], "99.9%"} <= {*drawn.texts}


def test_names_are_no_formulas(tmp_path: Path, drawn: Drawn) -> None:
    names = ["$100 to $200", r"$\foo$", ""]
    confusion_matrix(tmp_path / "m.png", np.eye(3, dtype=np.int64), names)
    assert {*names[:2]} <= {*drawn.texts}
    weights(tmp_path / "w.png", np.eye(3), (3,), names, names)
    assert all(drawn.texts.count(name) > 1 for name in names[:2])  # as class and feature
    mistakes(tmp_path / "t.png", [(0, 0, 1, 0.9)], names)
    assert {*names[:2]} <= {*drawn.texts}


def test_two_hundred_and_fifty_six_classes(tmp_path: Path, drawn: Drawn) -> None:
    names = [f"class {k}" for k in range(256)]
    matrix = np.eye(256, dtype=np.int64) * 90
    matrix[3, 200] = 10
    confusion_matrix(tmp_path / "m.png", matrix, names)
    axes = drawn.last.axes[0]
    x0, y0, x1, y1 = axes.bbox.extents.round().astype(int)
    scale = (y1 - y0) // 256
    assert (scale >= 4, x1 - x0) == (True, 256 * scale)
    picture = mpl.image.imread(tmp_path / "m.png")[:, :, :3]
    height = len(picture)
    inside = picture[height - y1 : height - y0, x0:x1][scale // 2 :: scale, scale // 2 :: scale]
    assert inside.shape == (256, 256, 3)
    assert (
        np.argwhere((inside != inside[0, 1]).any(2) & ~np.eye(256, dtype=bool)) == [[3, 200]]
    ).all()
    labels = [one.get_text() for one in axes.get_yticklabels()]
    assert labels[:3] == ["class 0", "class 5", "class 10"]
    assert "90" not in drawn.texts  # no numbers
    weights(tmp_path / "w.png", np.ones((256, 9)), (3, 3), names)
    assert "the 50 first of 256 classes" in drawn.texts[0] + drawn.texts[-1]


def test_a_share_has_the_same_colour_in_every_matrix(tmp_path: Path, drawn: Drawn) -> None:
    def shown(*errors: int) -> Any:
        matrix = np.diag([1000, 1000, 1000])
        matrix[0] = [1000 - sum(errors), *errors]
        confusion_matrix(tmp_path / "m.png", matrix, ["a", "b", "c"])
        (image,) = drawn.last.axes[0].images
        return image.to_rgba(image.get_array())[0, 1:].tolist()

    (few, many), (other, most) = shown(15, 60), shown(12, 600)
    assert few == other
    assert len({str(one) for one in (few, many, most)}) == 3


def test_the_ends_of_scales_are_few() -> None:
    found = {end_of(np.array([value, -value / 2])) for value in np.linspace(0.1, 10, 300)}
    assert sorted(found) == [0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10]
    assert end_of(np.zeros(3)) == 1
    assert end_of(np.array([np.nan, np.inf, 0.04])) == 0.05
    assert end_of(np.array([1e-40, 3.4e38])) == 5e38


def test_weights_of_a_table_are_bars_the_largest_first(tmp_path: Path, drawn: Drawn) -> None:
    units = np.zeros((2, 40))
    units[:, 7], units[:, 3], units[0, 5] = (3.0, -1.0), (-1.5, 0.5), np.nan
    features = [f"column {k}" for k in range(40)]
    weights(tmp_path / "w.png", units, (40,), ["sick", "well"], features)
    left, right = drawn.last.axes
    widths = [[bar.get_width() for bar in axes.patches] for axes in (left, right)]
    assert widths[0][:3] == [2.0, -1.0, 0]  # less the mean over the classes
    assert widths[1][:3] == [-2.0, 1.0, 0]
    assert left.get_xlim() == right.get_xlim() == (-2, 2)
    labels = [one.get_text() for one in left.get_yticklabels()]
    assert labels[:2] == ["column 7", "column 3"]
    assert len(labels) == 30
    assert "the 30 largest of 40 features" in " ".join(drawn.texts)


def test_a_first_layer_on_a_table_has_a_size_for_each_feature(tmp_path: Path, drawn: Drawn) -> None:
    units = np.array([[1.0, -3.0], [-1.0, 1.0], [1.0, 2.0]])
    weights(tmp_path / "w.png", units, (2,), ["a", "b"])
    (axes,) = drawn.last.axes
    assert [bar.get_width() for bar in axes.patches] == [2.0, 1.0]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["feature 1", "feature 0"]


IMAGES = {
    "colour images": ((2, 192), (8, 8, 3), 2),
    "grey images with an axis for it": ((2, 64), (8, 8, 1), 2),
    "one pixel": ((2, 1), (1, 1), 2),
    "a first layer": ((64, 20), (4, 5), 20),
    "grey kernels": ((32, 3, 3), (8, 8, 1), 20),
    "colour kernels": ((6, 5, 5, 3), (8, 8, 3), 6),
}


@pytest.mark.parametrize("case", IMAGES)
def test_weights_that_are_pictures(tmp_path: Path, drawn: Drawn, case: str) -> None:
    size, shape, panels = IMAGES[case]
    weights(tmp_path / "w.png", np.random.default_rng(0).standard_normal(size), shape, ["a", "b"])
    shown = [axes.images[0] for axes in drawn.last.axes if axes.images]
    assert len(shown) == panels
    (rows, columns) = shape[:2] if len(size) == 2 else size[1:3]
    assert shown[0].get_size() == (rows, columns)


WITHOUT = {
    "nothing to show": (None, (8, 8)),
    "a first layer on volumes": (np.ones((128, 64)), (4, 4, 4)),
    "two channels": (np.ones((128, 32)), (4, 4, 2)),
    "pictures of two channels": (np.ones((3, 4, 4, 2)), (4, 4, 2)),
    "no units": (np.ones((0, 16)), (4, 4)),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_weights_without_a_picture_are_a_sentence(tmp_path: Path, drawn: Drawn, case: str) -> None:
    pictures, shape = WITHOUT[case]
    weights(tmp_path / "w.png", pictures, shape, ["a", "b", "c"])
    (text,) = drawn.texts
    assert text.endswith(".")
    assert "picture" in text


def test_images_are_shown_as_their_files_have_them(tmp_path: Path, drawn: Drawn) -> None:
    generator, names = np.random.default_rng(0), ["a", "b"]
    rows = [(k, 0, 1, 0.9) for k in range(3)]
    for shape in ((8, 8), (8, 8, 1), (8, 8, 3), (1, 1)):
        images = generator.integers(0, 256, (3, *shape)).astype(np.uint8)
        mistakes(tmp_path / "bytes.png", rows, names, images)
        image = drawn.last.axes[0].images[0]
        expected = images[0].reshape(shape[:2]) if shape[2:] == (1,) else images[0]
        np.testing.assert_array_equal(image.get_array(), expected)
        assert image.get_clim() == (0, 255)
    numbers = generator.standard_normal((3, 8, 8))
    mistakes(tmp_path / "numbers.png", rows, names, numbers)
    shown = np.asarray(drawn.last.axes[1].images[0].get_array())
    assert (shown.min(), shown.max()) == (0, 255)  # each image on its own
    assert shown.argmax() == numbers[1].argmax()
    mistakes(tmp_path / "flat.png", rows, names, np.full((3, 2, 2), 0.5))


@pytest.mark.parametrize("classes", [2, 5])
def test_all_right_and_all_wrong(tmp_path: Path, drawn: Drawn, classes: int) -> None:
    names = [f"class {k}" for k in range(classes)]
    confusion_matrix(tmp_path / "right.png", np.eye(classes, dtype=np.int64) * 9, names)
    assert "accuracy 100.00%" in " ".join(drawn.texts)
    mistakes(tmp_path / "none.png", [], names)
    assert drawn.texts == ["No mistakes: each example of the test set is classified rightly."]
    confusion_matrix(tmp_path / "wrong.png", 9 - 9 * np.eye(classes, dtype=np.int64), names)
    assert "accuracy 0.00%" in " ".join(drawn.texts)
    confusion_matrix(tmp_path / "nothing.png", np.zeros((classes, classes), np.int64), names)


def test_tables_are_read_as_far_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n1,2,3\n4,5,6\n", encoding="utf-8")
    assert read_csv(path, 2).tolist() == [[1, 2], [4, 5]]
    assert read_csv(path, 3, 1).tolist() == [[1, 2, 3]]
    path.write_text("a,b,c\n", encoding="utf-8")
    assert read_csv(path, 3, 20).shape == (0, 3)  # no mistakes
    path.write_text("a,b,c\n1,x,3\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a.csv: cannot be read .* run `dvc repro evaluate`"):
        read_csv(path, 2)


def test_history_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "history.csv", EPOCHS)
    again = read(tmp_path / "history.csv")
    assert [row.epoch for row in again] == list(range(1, 8))
    assert again[6].loss == pytest.approx(1 / 7, rel=1e-8)
    assert again[6].val_accuracy is None


def test_long_names_leave_room(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    for number in range(4):
        name = f"hidden={[512 + number] * 60}"
        one = Trial(number, [f"model.{name}"], str(tmp_path), "FINISHED", name=name)
        one.metrics = {"val_loss": 1e29 + number}
        found.append(one)
    write(tmp_path / "metrics/history.csv", [Epoch(1, 1.0, 0.5, 1e29, 0.5)])
    answer = Answer("val_loss", [Setting(one.name, [one]) for one in found], seeds=1)
    trial_figures.curves(tmp_path / "curves.png", answer)
    trial_figures.objective(tmp_path / "objective.png", answer)
    assert [str(warning.message) for warning in recwarn] == []
    assert caplog.messages == []


def test_a_warning_of_matplotlib_is_one_line_that_names_the_picture(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "matrix.png"
    confusion_matrix(path, np.eye(2, dtype=np.int64), ["\u96f6", "one"])
    assert len(recwarn) == 0
    (line,) = caplog.messages
    assert line.startswith(f"{path}: Glyph 38646 ")


def test_a_loss_is_shown_with_four_digits() -> None:
    assert text("val_loss", 123456789012345678901234567890.0) == "1.235e+29"
    assert text("loss", 0.00001234567) == "1.235e-05"
    assert text("val_accuracy", 0.5) == "0.5000"
