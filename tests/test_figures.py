"""Figures: the same numbers give the same bytes, whatever the user's style; odd shapes work."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from pipeline.learning.history import Epoch, read, text, write
from pipeline.report import figures
from pipeline.trials import figures as trial_figures
from pipeline.trials.ranking import Answer
from pipeline.trials.spread import Setting
from pipeline.trials.trial_file import Trial

EPOCHS = [Epoch(n, 1 / n, 1 - 1 / n, 1.1 / n, None) for n in range(1, 8)]


def draw(folder: Path, classes: int = 3, shape: tuple[int, ...] = (4, 5), rows: int = 30) -> None:
    generator = np.random.default_rng(0)
    names = [f"class {k}" for k in range(classes)]
    features = int(np.prod(shape))
    figures.loss(folder / "loss.png", EPOCHS)
    figures.accuracy(folder / "accuracy.png", EPOCHS[:1])
    matrix = generator.integers(0, 50, (classes, classes))
    figures.confusion_matrix(folder / "confusion_matrix.png", matrix, names)
    weight = generator.standard_normal((features, classes)).astype(np.float32)
    figures.weights(folder / "weights.png", weight, shape, names)
    images = generator.integers(0, 256, (rows, *shape)).astype(np.uint8)
    mistakes = [(k, 0, 1, 0.9) for k in range(rows)]
    figures.mistakes(folder / "mistakes.png", images, mistakes, names)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    draw(tmp_path / "a")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9}):
        draw(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        content = path.read_bytes()
        assert content == (tmp_path / "b" / path.name).read_bytes()
        assert b"Software" not in content
    assert len(list((tmp_path / "a").iterdir())) == 5


@pytest.mark.parametrize(("classes", "shape", "rows"), [(2, (9, 3, 3), 1), (40, (2, 2), 0)])
def test_odd_shapes(tmp_path: Path, classes: int, shape: tuple[int, ...], rows: int) -> None:
    draw(tmp_path, classes, shape, rows)
    for path in tmp_path.iterdir():
        height, width, _ = mpl.image.imread(path).shape
        assert 100 < height < 6000
        assert 100 < width < 6000


def test_first_layer_weights_of_another_model(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((20, 128)).astype(np.float32)
    figures.weights(tmp_path / "weights.png", weight, (4, 5), ["a", "b", "c"])
    assert (tmp_path / "weights.png").stat().st_size > 1000


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
    figures.confusion_matrix(path, np.eye(2, dtype=np.int64), ["\u96f6", "one"])
    assert len(recwarn) == 0
    (line,) = caplog.messages
    assert line.startswith(f"{path}: Glyph 38646 ")


def test_a_loss_is_shown_with_four_digits() -> None:
    assert text("val_loss", 123456789012345678901234567890.0) == "1.235e+29"
    assert text("loss", 0.00001234567) == "1.235e-05"
    assert text("val_accuracy", 0.5) == "0.5000"
