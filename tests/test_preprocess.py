"""The preprocess stage: flat float32 in [0, 1] and labels as they are, or one line and nothing."""

import json
import logging
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import preprocess
from pipeline.data import idx, splitting, spool
from pipeline.data.description import Description, Scale
from pipeline.data.examples import Examples
from pipeline.data.readers import idx as idx_reader
from pipeline.data.readers.idx import BLOCK
from pipeline.data.scaling import Encoder
from pipeline.data.splitting import Part
from pipeline.errors import UserError
from pipeline.readers import READERS
from pipeline.settings.compose import load
from pipeline.settings.dataset import Dataset
from pipeline.settings.inputs import Inputs
from tests.conftest import Project, make_project
from tests.idx_files import FILES, SHAPE, write_split_files

TRAIN_X, TRAIN_Y, TEST_X, TEST_Y = FILES
OUTPUTS = {"dataset.json", "x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"}


def with_raw_files(
    folder: Path, classes: int = 3, shape: tuple[int, ...] = SHAPE, **options: object
) -> Project:
    """Make a project that has raw files and that many classes."""
    project = make_project(folder / "project")
    project.edit(
        "conf/dataset/tiny.yaml",
        "classes:\n- ant\n- bee\n- cat\n",
        f"classes: {list('abcdefghijklmnopqrstuvwxyz'[:classes])}\n",
    )
    project.edit("conf/dataset/tiny.yaml", "shape:\n- 4\n- 5\n", f"shape: {[*shape]}\n")
    write_split_files(project / "data/raw/tiny", classes=classes, shape=shape, **options)  # type: ignore[arg-type]
    return project


CASES = {
    "grey images": {"shape": (4, 5)},
    "images of MNIST's size": {"shape": (28, 28), "classes": 10},
    "colour images": {"shape": (3, 4, 3), "classes": 7},
    "images of one pixel": {"shape": (1, 1), "classes": 2},
    "one example": {"train": 1, "test": 1},
    "more than one block of rows": {"train": 2 * BLOCK + 1, "test": BLOCK},
    "rows of one value": {"shape": (7,), "classes": 26},
}


@pytest.mark.parametrize("case", CASES)
def test_it_writes_what_numpy_computes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    project = with_raw_files(tmp_path, **CASES[case])  # type: ignore[arg-type]
    if case == "grey images":
        done = project.stage("preprocess")
        assert done.stderr == ""
        logged = done.stdout.splitlines()
    else:
        caplog.set_level(logging.INFO, preprocess.log.name)
        with chdir(project.folder):
            preprocess.main(load(), Inputs("preprocess"))
        logged = caplog.messages
    processed = project / "data/processed"
    assert {path.name for path in processed.iterdir()} == OUTPUTS
    said = []
    for split, x_name, y_name in (("train", TRAIN_X, TRAIN_Y), ("test", TEST_X, TEST_Y)):
        content = (project / "data/raw/tiny" / x_name).read_bytes()
        shape = tuple(int(n) for n in np.frombuffer(content, ">u4", content[3], offset=4))
        pixels = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
        expected = pixels.reshape(shape[0], -1).astype(np.float32) / np.float32(255)
        labels = np.frombuffer(
            (project / "data/raw/tiny" / y_name).read_bytes(), np.uint8, offset=8
        )
        x = np.load(processed / f"x_{split}.npy", allow_pickle=False)
        y = np.load(processed / f"y_{split}.npy", allow_pickle=False)
        np.testing.assert_array_equal(x, expected, strict=True)
        np.testing.assert_array_equal(y, labels, strict=True)
        assert x.flags.c_contiguous
        said.append(f"{split}: {shape[0]:,} examples of {shape[1:]}")
        if split == "train":
            names = enumerate("abcdefghijklmnopqrstuvwxyz"[: CASES[case].get("classes", 3)])  # type: ignore[misc]
            absent = ", ".join(name for number, name in names if number not in labels)
            said = [f"no training example is of: {absent}"] * bool(absent) + said
    assert logged == said


def examples(images: np.ndarray, block: int, **more: Any) -> Examples:
    """Return examples whose reader gives so many at a time."""
    return Examples(
        labels=more.pop("labels", np.zeros(len(images), np.uint8)),
        shape=images.shape[1:],
        dtype=images.dtype,
        blocks=lambda: (images[k : k + block] for k in range(0, len(images), block)),
        place="pixels",
        **more,
    )


def x_of(folder: Path, part: Part, storage: str = "float32") -> np.ndarray:
    """Write x of a part whose features are bytes, as preprocess does; read it again."""
    described = Description(
        name="tiny",
        shape=part.source.shape,
        classes=[],
        features=None,
        scale=Scale(kind="bytes"),
        hashes={},
    )
    encode = Encoder(described, storage, exact=True)
    with ExitStack() as stack:
        preprocess.write_x(folder, {"train": part}, encode, np.dtype(storage), stack)
    return np.load(folder / "x_train.npy", mmap_mode="r")


@pytest.mark.parametrize("block", [1, 3, 10, 11, 4096])
@pytest.mark.parametrize("large", [False, True])
def test_neither_the_size_of_a_block_nor_the_order_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, large: bool
) -> None:
    images = np.arange(256 * 10, dtype=np.uint8).reshape(10, 16, 16)
    flat = images.reshape(10, 256)
    if large:
        monkeypatch.setattr(spool, "LARGE", 0)
        monkeypatch.setattr(spool, "BUCKET", 4 * 1100)  # four rows
    for rows in (np.arange(10), np.arange(9, -1, -1), np.array([3, 4, 1, 9])):
        part = Part(examples(images, block), rows)
        x_of(tmp_path, part)
        np.save(tmp_path / "expected.npy", flat[rows].astype(np.float32) / np.float32(255))
        written = (tmp_path / "x_train.npy").read_bytes()
        assert written == (tmp_path / "expected.npy").read_bytes()
        assert {path.name for path in tmp_path.iterdir()} == {"expected.npy", "x_train.npy"}
        np.testing.assert_array_equal(x_of(tmp_path, part, "uint8"), flat[rows], strict=True)


def test_every_pixel_is_the_nearest_float32(tmp_path: Path) -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    (row,) = x_of(tmp_path, Part(examples(images, 1), np.arange(1)))
    assert row.tolist() == [float(np.float32(pixel / 255)) for pixel in range(256)]


def test_memory_stays_flat(tmp_path: Path) -> None:
    rows, shape = 60_000, (28, 28)
    for name, content in (("x", idx.header((rows, *shape))), ("y", idx.header((rows,)))):
        with (tmp_path / name).open("wb") as file:
            file.write(content)
            file.truncate(len(content) + rows * (784 if name == "x" else 1))
    dataset = Dataset.model_construct(classes=["a", "b"])
    order = np.random.default_rng(0).permutation(rows)
    for chosen in (np.arange(rows), order):
        tracemalloc.start()  # NumPy tells it of its arrays
        try:
            source = idx_reader.read(tmp_path, dataset, train=["x", "y"])["train"]
            x_of(tmp_path, Part(source, chosen))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (tmp_path / "x_train.npy").stat().st_size == 128 + 4 * rows * 784
        assert peak < 4 * 4 * BLOCK * 784 + 20 * rows  # four blocks, and the order


def write(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)


def labels(*values: int) -> bytes:
    return idx.header((len(values),)) + bytes(values)


def cut(folder: Path, name: str, length: int) -> None:
    write(folder, name, (folder / name).read_bytes()[:length])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no training images": (
        lambda raw: (raw / TRAIN_X).unlink(),
        f"{TRAIN_X}: cannot be read: No such file or directory; run `dvc repro download`",
    ),
    "no test labels": (
        lambda raw: (raw / TEST_Y).unlink(),
        f"{TEST_Y}: cannot be read: No such file or directory; run `dvc repro download`",
    ),
    "fewer labels than images": (
        lambda raw: write(raw, TRAIN_Y, labels(*[0] * 59)),
        f"{TRAIN_Y}: has 59 labels for 60 images",
    ),
    "more labels than images": (
        lambda raw: write(raw, TEST_Y, labels(*[0] * 31)),
        f"{TEST_Y}: has 31 labels for 30 images",
    ),
    "a label that is no class": (
        lambda raw: write(raw, TEST_Y, labels(*[0] * 7, 3, *[2] * 22)),
        f"{TEST_Y}: label 3 of example 7 is not a class: the data set has 3, counted from 0",
    ),
    "a label far outside": (
        lambda raw: write(raw, TRAIN_Y, labels(*[0] * 59, 255)),
        f"{TRAIN_Y}: label 255 of example 59 is not a class: the data set has 3, counted from 0",
    ),
    "an empty file": (lambda raw: write(raw, TRAIN_X, b""), f"{TRAIN_X}: is empty"),
    "a page": (
        lambda raw: write(raw, TRAIN_Y, b"<html>"),
        f"{TRAIN_Y}: is not an IDX file of unsigned bytes: it begins with 3c68746d",
    ),
    "a file that is cut off": (
        lambda raw: cut(raw, TEST_X, 500),
        f"{TEST_X}: has 500 bytes where its header, with the shape (30, 4, 5), asks for 616",
    ),
    "a header that is cut off": (
        lambda raw: cut(raw, TEST_X, 14),
        f"{TEST_X}: is cut off within its header, at 14 bytes",
    ),
    "labels for images": (
        lambda raw: write(raw, TRAIN_X, (raw / TRAIN_Y).read_bytes()),
        f"{TRAIN_X}: has 1 dimensions where 2 to 4 is expected",
    ),
    "images for labels": (
        lambda raw: write(raw, TRAIN_Y, (raw / TRAIN_X).read_bytes()),
        f"{TRAIN_Y}: has 3 dimensions where 1 is expected",
    ),
    "no examples": (
        lambda raw: write(raw, TRAIN_X, idx.header((0, 4, 5))),
        f"{TRAIN_X}: holds no values: its header gives the shape (0, 4, 5)",
    ),
}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose raw files each test writes anew."""
    return with_raw_files(tmp_path_factory.mktemp("preprocess"))


def refused(project: Project, message: str, *, command: bool = True) -> None:
    """Preprocess, which must say one line and leave what was processed before, or nothing."""
    processed = project / "data/processed"
    before = {path.name: path.read_bytes() for path in processed.glob("*")}
    if command:
        done = project.stage("preprocess", code=1)
        assert done.stdout == ""
        assert done.stderr == f"preprocess: {message}\n"
    else:
        with chdir(project.folder), pytest.raises(UserError) as caught:
            preprocess.main(load(), Inputs("preprocess"))
        assert str(caught.value) == message
    assert {path.name: path.read_bytes() for path in processed.glob("*")} == before


@pytest.mark.parametrize("case", BAD)
def test_a_bad_input_is_refused(ready: Project, case: str) -> None:
    damage, message = BAD[case]
    write_split_files(ready / "data/raw/tiny")
    damage(ready / "data/raw/tiny")
    refused(ready, f"data/raw/tiny/{message}", command=False)
    assert not (ready / "data/processed").exists()


def test_images_of_different_shapes_are_refused(ready: Project) -> None:
    images = idx.header((30, 5, 4)) + bytes(600)
    write_split_files(ready / "data/raw/tiny")
    write(ready / "data/raw/tiny", TEST_X, images)
    refused(
        ready,
        f"data/raw/tiny/{TEST_X}: examples are (5, 4), but conf/dataset/tiny.yaml: dataset.shape "
        "is (4, 5): set it to [5, 4]",
    )
    assert not (ready / "data/processed").exists()


def test_a_reader_returns_its_parts_by_name(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pair(folder: Path, dataset: Dataset, *, train: list[str], test: list[str]) -> Any:
        return train, test

    monkeypatch.setitem(READERS._entries, "idx", pair)  # type: ignore[arg-type]
    refused(
        ready,
        "conf/dataset/*.yaml: dataset.reader: 'idx' must return a dict with the Examples of "
        "`train`, and of `test` if there are any, not a tuple",
        command=False,
    )


def test_what_was_processed_before_stays_whole(tmp_path: Path) -> None:
    project = with_raw_files(tmp_path)
    project.stage("preprocess")
    write_split_files(project / "data/raw/tiny", seed=1)
    cut(project / "data/raw/tiny", TEST_Y, 20)
    refused(
        project,
        f"data/raw/tiny/{TEST_Y}: has 20 bytes where its header, with the shape (30,), asks for 38",
    )


def test_a_place_that_is_full_is_left_as_it_was(ready: Project) -> None:
    write_split_files(ready / "data/raw/tiny")
    command = "ulimit -f 4; exec python -m pipeline.preprocess"  # no file may be larger than 4 KiB
    # else Python, which would write half of it, might have half of a module's bytecode to read
    done = ready.run("bash", "-c", command, code=1, PYTHONDONTWRITEBYTECODE="1")
    line = "preprocess: data/processed/x_train.npy: cannot be written: File too large\n"
    assert done.stderr == line
    assert list((ready / "data/processed").iterdir()) == []
    (ready / "data/processed").rmdir()


def test_a_share_is_tested_and_the_rest_is_ordered_and_scaled(project: Project) -> None:
    raw, conf = project / "data/raw/tiny", "conf/dataset/tiny.yaml"
    write_split_files(raw, train=200)
    for old, new in (
        ("split: files", "split: 0.25\nseed: 3"),
        ("validation: last\n", ""),
        ("scale: bytes", "scale: minmax"),
    ):
        project.edit(conf, old, new)
    refused(
        project,
        f"{conf}: dataset.split is a share, but data/raw/tiny/{TEST_X} is the test part: "
        "set it to files",
    )
    project.edit(conf, f"  test:\n  - {TEST_X}\n  - {TEST_Y}\n", "")
    refused_storage = project.stage("preprocess", "storage=uint8", code=1).stderr
    assert refused_storage == (
        "preprocess: storage=uint8 on the command line: uint8 is for data sets with "
        "`scale: bytes`, and tiny has `scale: minmax`: set storage to float32\n"
    )
    done = project.stage("preprocess")
    images = idx.read(raw / TRAIN_X, range(3, 4)).reshape(200, 20).astype(np.float64)
    labels = idx.read(raw / TRAIN_Y, range(1, 2))
    chosen = splitting.test_rows(labels, 0.25, 3)
    train, test = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    train = train[splitting.order(labels[train], 3)]
    assert done.stdout.splitlines() == [
        f"train: {len(train)} examples of (4, 5)",
        f"test: {len(test)} examples of (4, 5)",
    ]
    low, high = images[train].min(), images[train].max()
    for name, rows in (("train", train), ("test", test)):
        x, y = (np.load(project / f"data/processed/{letter}_{name}.npy") for letter in "xy")
        expected = ((images[rows] - low) / (high - low)).astype(np.float32)
        np.testing.assert_array_equal(x, expected, strict=True)
        np.testing.assert_array_equal(y, labels[rows], strict=True)
    described = json.loads((project / "data/processed/dataset.json").read_text(encoding="utf-8"))
    assert described["scale"] == {"kind": "minmax", "offset": [low], "width": [high - low]}
