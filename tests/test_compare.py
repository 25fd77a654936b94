"""Where files differ: hand-made ones of each format, whose differences are known."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imsave

from pipeline.data import idx
from pipeline.verification.compare import Difference, compare, divergence, within

CSV = "epoch,loss,val_loss\n1,0.5,\n2,0.25,0.5\n3,0.125,0.5\n"
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def changed(array: Any, *values: tuple[Any, float]) -> Any:
    copy = np.array(array)
    for index, value in values:
        copy[index] = value
    return copy


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def raw(array: Any) -> bytes:
    return idx.header(array.shape) + array.tobytes()


CASES: dict[str, tuple[str, bytes, bytes, str]] = {
    "one value of a .npy": (
        "x.npy",
        npy(WEIGHT),
        npy(changed(WEIGHT, ((1, 0), 3.5))),
        "array, index [1, 0]: expected 3.0, got 3.5; 1 of 6 values differ, "
        "at most by 0.5 (array, index [1, 0])",
    ),
    "labels, whose difference must not wrap around": (
        "y.npy",
        npy(np.array([1, 2, 3], np.uint8)),
        npy(np.array([1, 3, 0], np.uint8)),
        "array, index 1: expected 2, got 3; 2 of 3 values differ, at most by 3 (array, index 2)",
    ),
    "the sign of zero": (
        "x.npy",
        npy(WEIGHT),
        npy(changed(WEIGHT, ((0, 0), -0.0))),
        "array, index [0, 0]: expected 0.0, got -0.0; 1 of 6 values differ, "
        "at most by 0 (array, index [0, 0])",
    ),
    "not a number": (
        "x.npy",
        npy(changed(WEIGHT, ((0, 0), np.nan))),
        npy(changed(WEIGHT, ((0, 0), np.nan), ((1, 2), np.nan))),
        "array, index [1, 2]: expected 5.0, got nan; 1 of 6 values differ, "
        "at most by inf (array, index [1, 2])",
    ),
    "the largest difference is in another array than the first": (
        "weights.npz",
        npz(weight=WEIGHT, bias=np.zeros(3, np.float32)),
        npz(weight=changed(WEIGHT, ((0, 1), 1.25)), bias=np.array([0, 0, 2], np.float32)),
        "array weight, index [0, 1]: expected 1.0, got 1.25; 2 of 9 values differ, "
        "at most by 2 (array bias, index 2)",
    ),
    "another shape": (
        "weights.npz",
        npz(weight=WEIGHT),
        npz(weight=WEIGHT.T),
        "array weight: expected float32 (2, 3), got float32 (3, 2)",
    ),
    "another type": (
        "x.npy",
        npy(WEIGHT),
        npy(WEIGHT.astype(np.float64)),
        "array: expected float32 (2, 3), got float64 (2, 3)",
    ),
    "other arrays": (
        "weights.npz",
        npz(weight=WEIGHT),
        npz(weight=WEIGHT, bias=WEIGHT),
        "each array: expected weight, got weight, bias",
    ),
    "a pixel of a raw file": (
        "train-images-idx3-ubyte",
        raw(IMAGES),
        raw(changed(IMAGES, ((1, 2, 3), 255))),
        "array, index [1, 2, 3]: expected 23, got 255; 1 of 24 values differ, "
        "at most by 232 (array, index [1, 2, 3])",
    ),
    "a history: by row, then by column": (
        "history.csv",
        CSV.encode(),
        CSV.replace("0.25,0.5", "0.25,0.75").replace("0.125", "0.25").encode(),
        "column val_loss, row 2: expected 0.5, got 0.75; 2 of 9 values differ, "
        "at most by 0.25 (column val_loss, row 2)",
    ),
    "a metric that was not measured": (
        "history.csv",
        CSV.encode(),
        CSV.replace("0.5,\n", "0.5,1\n").encode(),
        "column val_loss, row 1: expected , got 1; 1 of 9 values differ",
    ),
    "fewer rows": (
        "history.csv",
        CSV.encode(),
        CSV.removesuffix("3,0.125,0.5\n").encode(),
        "column epoch: expected text (3,), got text (2,)",
    ),
    "a key of a .json": (
        "evaluation.json",
        json.dumps({"loss": 0.5, "classes": {"ant": {"f1": [1, 0.5]}}}).encode(),
        json.dumps({"loss": 0.5, "classes": {"ant": {"f1": [1, 0.75]}}}).encode(),
        "key classes.ant.f1.1: expected 0.5, got 0.75; 1 of 3 values differ, "
        "at most by 0.25 (key classes.ant.f1.1)",
    ),
    "one of them is damaged": (
        "weights.npz",
        npz(weight=WEIGHT)[:40],
        npz(weight=WEIGHT)[:39] + b"x",
        "file, byte 39: expected ",
    ),
}


def difference(folder: Path, name: str, expected: bytes, got: bytes) -> Difference | None:
    for which, content in (("expected", expected), ("got", got)):
        (folder / which).write_bytes(content)
    return compare(folder / "expected", folder / "got", name)


@pytest.mark.parametrize("case", CASES)
def test_a_difference_is_found_where_it_is(tmp_path: Path, case: str) -> None:
    name, expected, got, text = CASES[case]
    assert difference(tmp_path, name, expected, expected) is None
    assert str(difference(tmp_path, name, expected, got)).startswith(text)


def test_pixels_of_pictures(tmp_path: Path) -> None:
    picture = np.full((5, 6, 4), 255, np.uint8)

    def png(*values: tuple[Any, float], **metadata: str) -> bytes:
        stream = io.BytesIO()
        imsave(stream, changed(picture, *values), format="png", metadata=metadata)
        return stream.getvalue()

    (tmp_path / "expected").write_bytes(png())
    for content, text, close in (
        (png(((3, 2, 1), 253)), "picture, pixel [3, 2, 1]: expected 255, got 253; 1 of 120", True),
        (png(((3, 2, 1), 250)), "picture, pixel [3, 2, 1]: expected 255, got 250; 1 of 120", False),
        (png(Author="x"), "None", True),
    ):
        (tmp_path / "got").write_bytes(content)
        found = compare(tmp_path / "expected", tmp_path / "got", "loss.png")
        assert str(found).startswith(text)
        assert within(found, 1e-6, "loss.png") is close


@pytest.mark.parametrize(
    ("name", "expected", "got", "close"),
    [
        ("x.npy", npy(np.zeros(3)), npy(np.array([0, 9e-7, 0])), True),
        ("x.npy", npy(np.zeros(3)), npy(np.array([0, 9e-7, 2e-6])), False),
        ("x.npy", npy(np.zeros(3)), npy(np.array([0, np.nan, 0])), False),
        ("x.npy", npy(np.array([np.inf])), npy(np.array([-np.inf])), False),
        ("x.npy", npy(np.zeros(3)), npy(np.zeros(4)), False),
        ("x.npy", npy(np.zeros(3)), npy(np.zeros((3, 1))), False),
        ("h.csv", b"a,b\nx,1\n", b"a,b\nx,1.0000001\n", True),
        ("h.csv", b"a,b\nx,1\n", b"a,b\ny,1\n", False),
        ("h.csv", b"a,b\n1,\n", b"a,b\n1,0\n", False),
        ("h.csv", b"a,b\n1,2\n", b"a,b\n1,2,3\n", False),
        ("e.json", b'{"a": 1, "b": 0.1}', b'{"a": 1.0000001, "b": 0.1}', True),
        ("e.json", b'{"a": 1}', b'{"a": 1, "b": 1}', False),
        ("e.json", b'{"a": null}', b'{"a": 0}', False),
        ("other", b"abc", b"abd", False),
    ],
)
def test_equal_within_a_tolerance(
    tmp_path: Path, name: str, expected: bytes, got: bytes, *, close: bool
) -> None:
    assert within(difference(tmp_path, name, expected, got), 1e-6, name) is close


def test_the_epoch_in_which_histories_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV, encoding="utf-8")
    for old, new, epoch in (("2,0.25", "2,0.26", "2"), ("3,0.125,0.5\n", "", "3"), ("", "", None)):
        (tmp_path / "b.csv").write_text(CSV.replace(old, new) if old else CSV, encoding="utf-8")
        assert divergence(tmp_path / "a.csv", tmp_path / "b.csv") == epoch
        assert divergence(tmp_path / "b.csv", tmp_path / "a.csv") == epoch
