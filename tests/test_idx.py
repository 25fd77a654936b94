"""IDX files: what fits its header is read, anything else is refused by name."""

import gzip
import struct
import tracemalloc
import zlib
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import idx
from pipeline.errors import UserError

ANY = range(1, idx.MOST_DIMENSIONS + 1)
SHAPES = [(1,), (7,), (1, 1), (3, 5), (2, 3, 4), (300, 28, 28), (2, 3, 4, 3), (1, 1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / "file"
    path.write_bytes(idx.header(shape) + array.tobytes())
    read = idx.read(path, ANY)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array, strict=True)
    assert not read.flags.writeable
    assert path.read_bytes()[:4] == bytes([0, 0, 8, len(shape)])
    words = np.frombuffer(path.read_bytes(), ">u4", len(shape), offset=4)
    assert tuple(words) == shape
    path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(idx.read(path, ANY), array, strict=True)
    np.testing.assert_array_equal(np.concatenate([*idx.blocks(path, ANY, 2)]), array, strict=True)


def file(shape: tuple[int, ...], values: int) -> bytes:
    """Return a file whose header gives a shape, with so many values."""
    return idx.header(shape) + bytes(values)


LABELS, IMAGES = range(1, 2), range(2, 5)
AGAIN = "run `dvc repro download`"
ENDED = "Compressed file ended before the end-of-stream marker was reached"
CUT_OFF = f"cannot be read: {ENDED}; {AGAIN}"
NOT_IDX = "is not an IDX file of unsigned bytes: it begins with"
BAD = {
    "empty": (b"", LABELS, "is empty"),
    "one byte": (b"\0", LABELS, f"{NOT_IDX} 00"),
    "three bytes": (b"\0\0\x08", LABELS, f"{NOT_IDX} 000008"),
    "half of packed data": (gzip.compress(file((3, 2, 2), 12))[:-9], IMAGES, CUT_OFF),
    "packed data that are damaged": (
        gzip.compress(file((3, 2, 2), 12))[:-8] + bytes(8),
        IMAGES,
        f"cannot be read: CRC check failed 0x0 != {zlib.crc32(file((3, 2, 2), 12)):#x}; {AGAIN}",
    ),
    "packed, and too short": (
        gzip.compress(file((3, 2, 2), 11)),
        IMAGES,
        "was cut off: its header announces more",
    ),
    "packed, and too long": (
        gzip.compress(file((3, 2, 2), 13)),
        IMAGES,
        "goes on after what its header announces",
    ),
    "packed, with a huge shape": (
        gzip.compress(file((2**32 - 1,) * 4, 9)),
        IMAGES,
        "was cut off: its header announces more",
    ),
    "a web page": (b"<!DOCTYPE html>", IMAGES, f"{NOT_IDX} 3c21444f"),
    "floats": (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", LABELS, f"{NOT_IDX} 00000d01"),
    "labels as images": (
        file((3,), 3),
        IMAGES,
        "has 1 dimensions where 2 to 4 is expected",
    ),
    "images as labels": (
        file((3, 2, 2), 12),
        LABELS,
        "has 3 dimensions where 1 is expected",
    ),
    "no dimensions": (b"\0\0\x08\0", LABELS, "has 0 dimensions where 1 is expected"),
    "five dimensions": (
        file((1,) * 5, 1),
        IMAGES,
        "has 5 dimensions where 2 to 4 is expected",
    ),
    "only a magic number": (
        b"\0\0\x08\x01",
        LABELS,
        "is cut off within its header, at 4 bytes",
    ),
    "half a header": (
        file((3, 2, 2), 0)[:15],
        IMAGES,
        "is cut off within its header, at 15 bytes",
    ),
    "no examples": (
        file((0,), 0),
        LABELS,
        "holds no values: its header gives the shape (0,)",
    ),
    "no columns": (
        file((3, 2, 0), 0),
        IMAGES,
        "holds no values: its header gives the shape (3, 2, 0)",
    ),
    "too short": (
        file((3, 2, 2), 11),
        IMAGES,
        "has 27 bytes where its header, with the shape (3, 2, 2), asks for 28",
    ),
    "too long": (
        file((3, 2, 2), 13),
        IMAGES,
        "has 29 bytes where its header, with the shape (3, 2, 2), asks for 28",
    ),
    "only a header": (
        file((2000,), 0),
        LABELS,
        "has 8 bytes where its header, with the shape (2000,), asks for 2,008",
    ),
    "numbers in the wrong byte order": (
        b"\0\0\x08\x01" + struct.pack("<I", 3) + bytes(3),
        LABELS,
        "has 11 bytes where its header, with the shape (50331648,), asks for 50,331,656",
    ),
    "a huge shape": (
        file((2**32 - 1,) * 4, 9),
        IMAGES,
        "has 29 bytes where its header, with the shape "
        "(4294967295, 4294967295, 4294967295, 4294967295), asks for "
        "340,282,366,604,025,813,516,997,721,482,669,850,645",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_at_little_cost(tmp_path: Path, case: str) -> None:
    content, dimensions, message = BAD[case]
    path = tmp_path / "file"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            idx.read(path, dimensions)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "nothing", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UserError) as caught:
            idx.read(path, ANY)
        assert str(caught.value) == f"{path}: cannot be read: {why}; run `dvc repro download`"


small = st.lists(st.integers(1, 5), min_size=1, max_size=4)
any_shape = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=6)
right = st.builds(lambda shape: file(tuple(shape), prod(shape)), small)
contents = st.one_of(
    right,
    st.builds(lambda shape, values: file(tuple(shape), values), any_shape, st.integers(0, 700)),
    st.builds(lambda content, end: content[:end], right, st.integers(0, 30)),
    st.builds(lambda content, end: content + end, right, st.binary(max_size=2)),
    st.binary(max_size=40),
)


def shape_of(content: bytes) -> tuple[int, ...] | None:
    """Return the shape that whole content has, by NumPy; None for anything else."""
    words = np.frombuffer(content[4 : len(content) // 4 * 4], ">u4")
    if content[:3] != b"\0\0\x08" or len(content) < 4 or not 1 <= content[3] <= len(words[:4]):
        return None
    shape = tuple(int(word) for word in words[: content[3]])
    return shape if 0 < prod(shape) == len(content) - 4 - 4 * len(shape) else None


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(content=contents)
def test_any_bytes_are_an_array_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any bytes"
    path.write_bytes(content)
    if shape := shape_of(content):
        array = idx.read(path, ANY)
        assert array.shape == shape
        assert array.tobytes() == content[-array.size :]
    else:
        with pytest.raises(UserError) as caught:
            idx.read(path, ANY)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
