"""What the model says of files that somebody has."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.description import Description, Scale
from pipeline.errors import UserError
from pipeline.predicting import asked, drawing
from pipeline.settings.dataset import Dataset
from tests.conftest import Project

SIDE = 28


def described(*shape: int, features: list[str] | None = None, kind: str = "bytes") -> Description:
    return Description(
        name="mine",
        shape=shape,
        classes=["ant", "bee"],
        features=features,
        scale=Scale(kind=kind),  # type: ignore[arg-type]
        hashes={},
    )


def dataset(reader: str = "idx", **options: object) -> Dataset:
    return Dataset(
        name="mine",
        reader=reader,
        options=options,
        classes=["ant", "bee"],
        shape=[1],
        split="files",
        scale="bytes",
        max_bytes=1,
        files={"train.csv": "0" * 64},
    )


def stroke() -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return a seven: light on dark, in a box of 20, with its centre of mass in the middle."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[4:7, 8:20] = 255
    for row in range(7, 24):
        start = 18 - (row - 7) // 2
        pixels[row, start : start + 3] = 255
    return pixels


def test_answers_are_those_of_the_evaluation_bit_for_bit(reproduced: Project) -> None:
    x = np.load(reproduced / "data/processed/x_test.npy")
    shape = (
        len(x),
        *json.loads((reproduced / "data/processed/dataset.json").read_text(encoding="utf-8"))[
            "shape"
        ],
    )
    pixels = np.rint(x * 255).astype(np.uint8).reshape(shape)
    np.save(reproduced / "floats.npy", x)
    np.save(reproduced / "bytes.npy", pixels)
    Image.fromarray(pixels[3]).save(reproduced / "seven.png")
    with (reproduced / "metrics/predictions.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    done = reproduced.stage("predict", "floats.npy", "bytes.npy", "seven.png", "json=true")
    answers = json.loads(done.stdout)
    assert len(answers) == 2 * len(x) + 1
    classes = ["ant", "bee", "cat"]
    for number, row in enumerate(expected):
        for answer in (answers[number], answers[len(x) + number]):
            assert answer["class"] == classes[int(row["predicted"])]
            assert f"{answer['probability']:.6f}" == row["probability"]
    assert answers[len(x)]["name"] == "bytes.npy:0"
    assert answers[-1]["probabilities"] == answers[3]["probabilities"]
    done = reproduced.stage("predict", "seven.png")
    one = done.stdout
    assert done.stderr == ""
    answer = answers[-1]
    assert one == (
        f"seven.png  {answer['class']} {answer['probability']:.6f}  "
        f"then {answer['runner_up']} {answer['runner_up_probability']:.6f}\n"
    )
    reproduced.stage("predict", "seven.png", "fit=true")
    with Image.open(reproduced / "predictions/seven.png") as saw:
        assert saw.size == (8 * shape[2], 8 * shape[1])
    refused = reproduced.stage("predict", "seven.png", "nothing.png", code=1)
    assert (refused.stdout, refused.stderr) == (
        "",
        "predict: nothing.png: there is no such file\n",
    )
    reproduced.stage("train", "train.epochs=1")
    assert reproduced.stage("predict", "seven.png").stderr == (
        "predict: models/weights.npz is modified since `dvc repro` trained: these answers are of "
        "models/weights.npz as it is\n"
    )


@pytest.mark.parametrize("scale", [1, 3, 11])
@pytest.mark.parametrize("dark_on_light", [False, True])
def test_a_drawn_digit_is_cut_out_scaled_and_centred(scale: int, dark_on_light: bool) -> None:
    digit = stroke()
    page = np.full((40 * scale, 60 * scale), 12, np.uint8)
    large = np.kron(digit[4:24, 6:22], np.ones((scale, scale), np.uint8))
    page[5 * scale : 25 * scale, 30 * scale : 46 * scale] = np.maximum(large, 12)
    if dark_on_light:
        page = 255 - page
    found = drawing.fitted(page, (SIDE, SIDE), "seven.png")
    assert found.dtype == np.uint8
    assert found.shape == (SIDE, SIDE)
    rows, columns = np.nonzero(found)
    assert np.ptp(rows) + 1 == 20
    weights = found / found.sum()
    centre = (weights.sum(1) @ np.arange(SIDE), weights.sum(0) @ np.arange(SIDE))
    assert centre == pytest.approx(((SIDE - 1) / 2,) * 2, abs=0.5)
    assert np.ptp(columns) + 1 == np.ptp(np.nonzero(digit)[1]) + 1


def test_what_is_not_of_the_data_sets_kind_is_refused_with_the_remedy(tmp_path: Path) -> None:
    grey, seven = described(SIDE, SIDE), stroke()
    files = {
        "large.png": Image.new("L", (60, 50)),
        "colour.png": Image.new("RGB", (SIDE, SIDE)),
        "paper.png": Image.fromarray(255 - seven),
        "blank.png": Image.new("L", (90, 90), 250),
        "clear.png": Image.new("LA", (SIDE, SIDE)),
    }
    for name, image in files.items():
        image.save(tmp_path / name)
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("a", encoding="utf-8")
    (tmp_path / "t.csv").write_text("a,b\n1,x\n", encoding="utf-8")
    (tmp_path / "shapes").mkdir()
    np.save(tmp_path / "words.npy", np.array(["a"]))
    table = described(2, features=["a", "b"], kind="none")
    own = dataset("table", train="train.csv", label="kind")
    where = f"{tmp_path}/"
    for name, kind, of, fit, message in (
        ("large.png", grey, dataset(), False, "is 60 x 50 pixels, but the images of mine are 28 x 28: scale it, or set fit=true"),  # noqa: E501
        ("colour.png", grey, dataset(), False, "is in colour, but mine is grey: convert it, or set fit=true"),  # noqa: E501
        ("paper.png", grey, dataset(), False, "has a light background, but the images of mine have a dark one: invert it, or set fit=true"),  # noqa: E501
        ("blank.png", grey, dataset(), True, "shows no digit: ink and paper are too much alike: draw it with more contrast"),  # noqa: E501
        ("clear.png", grey, dataset(), False, "is transparent: put it on a background"),
        ("text.png", grey, dataset(), False, "is neither a PNG nor a JPEG: convert it"),
        ("notes.txt", grey, dataset(), False, "is no PNG, JPEG, .npy, CSV or Parquet file: convert it"),  # noqa: E501
        ("t.csv", grey, dataset(), False, "is a table, but mine is none: give images, or a .npy"),
        ("t.csv", table, own, True, "fit=true is for images, and this is none"),
        ("t.csv", table, own, False, "'b' ('x' in row 2) must be finite numbers: write numbers"),
        ("t.csv", described(1, features=["c"], kind="none"), own, False, "lacks the columns c"),
        ("large.png", table, own, False, "is an image, but the examples of mine are not images of bytes"),  # noqa: E501
        ("colour.png", described(8, 8, 3), dataset("folder"), True, "fit=true is for grey images, and mine is not"),  # noqa: E501
        ("words.npy", grey, dataset(), False, "holds <U1: save numbers"),
        ("no.png", grey, dataset(), False, "there is no such file"),
        ("shapes", grey, dataset(), False, "is a folder: give the files in it, which may be PNG or JPEG images, .npy arrays, and CSV or Parquet tables"),  # noqa: E501
        ("shapes", grey, dataset(), True, "is a folder: give the files in it, which may be PNG or JPEG images, .npy arrays, and CSV or Parquet tables"),  # noqa: E501
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            asked.read(tmp_path / name, kind, of, fit=fit, paper=0.0)
        said = str(caught.value)
        assert said.startswith(where + name), said
        assert said.endswith(message), said


def test_rows_of_a_table_have_the_data_sets_columns_in_any_order(tmp_path: Path) -> None:
    kind = described(2, features=["a", "b"], kind="none")
    own = dataset("table", train="train.csv", label="kind", separator=";", decimal=",")
    path = tmp_path / "new.csv"
    path.write_text("b;kind;a\n2,5;?;1\n4;?;3\n", encoding="utf-8")
    assert asked.read(path, kind, own).tolist() == [[1, 2.5], [3, 4]]
    headless = dataset("table", train="train.csv", label="3", columns=3)
    numbered = described(2, features=["1", "2"], kind="none")
    for text in ("1,2\n3,4\n", "1,2,9\n3,4,9\n"):
        path.write_text(text, encoding="utf-8")
        assert asked.read(path, numbered, headless).tolist() == [[1, 2], [3, 4]]
    skipping = dataset("table", train="train.csv", label="3", columns=3, skip=1)
    with pytest.raises(UserError) as caught:
        asked.read(path, numbered, skipping)
    assert str(caught.value) == (
        f"{path}: line 1 is skipped, as in the data set's own files, but is an example: put the "
        "lines with which those begin above it"
    )
    for line in ("counts", "cm,kg", "2,cm", "9,9,9"):
        path.write_text(f"{line}\n1,2\n3,4\n", encoding="utf-8")
        assert asked.read(path, numbered, skipping).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("shape", [(3,), (2, 2)])
def test_an_array_of_one_example_is_taken_as_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "one.npy", np.zeros(shape))
    assert asked.read(tmp_path / "one.npy", described(*shape), dataset()).shape == (1, *shape)
