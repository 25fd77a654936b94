"""The IDX format of the MNIST files: a magic number, the dimensions, the bytes.

The format is described at the end of the page of the MNIST data set (LeCun, Cortes and Burges):
two zero bytes, the type (8 for unsigned bytes), the number of dimensions, then each dimension as a
big-endian 32-bit integer, then the values in row-major order.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError, first_line

GZIP = b"\x1f\x8b"  # the first bytes of gzip data
UNSIGNED_BYTE = 8
PIECE = 2**19  # bytes
MOST_DIMENSIONS = 4  # examples, rows, columns, channels


def header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file of unsigned bytes of that shape."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)


def read_header(path: Path, dimensions: range) -> tuple[tuple[int, ...], int]:
    """Return the shape that an IDX file announces, and where its values begin.

    Parameters
    ----------
    path : Path
        The file, plain or .gz.
    dimensions : range
        How many dimensions it may have: 1 for labels, 2 to 4 for images.

    Raises
    ------
    UserError
        If the file is missing or unreadable, holds no values, or has another length than its header
        says. The length of a packed file is not looked at.
    """
    size = path.stat().st_size if path.is_file() else 0
    with _opened(path) as file:
        start = file.read(4 + 4 * MOST_DIMENSIONS)
        packed = isinstance(file, gzip.GzipFile)
    if not start:
        raise UserError(f"{path}: is empty")
    if len(start) < 4 or start[:3] != b"\0\0\x08":
        raise UserError(
            f"{path}: is not an IDX file of unsigned bytes: it begins with {start[:4].hex()}"
        )
    count = start[3]
    if count not in dimensions:
        wanted = " to ".join(str(n) for n in sorted({dimensions[0], dimensions[-1]}))
        raise UserError(f"{path}: has {count} dimensions where {wanted} is expected")
    offset = 4 + 4 * count
    if len(start) < offset:
        raise UserError(f"{path}: is cut off within its header, at {size} bytes")
    shape = struct.unpack(f">{count}I", start[4:offset])
    if prod(shape) == 0:
        raise UserError(f"{path}: holds no values: its header gives the shape {shape}")
    if not packed and size != offset + prod(shape):
        raise UserError(
            f"{path}: has {size:,} bytes where its header, with the shape {shape}, "
            f"asks for {offset + prod(shape):,}"
        )
    return shape, offset


def blocks(path: Path, dimensions: range, rows: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the values of an IDX file, `rows` of its first dimension at a time.

    Raises
    ------
    UserError
        As `read_header` does; and if a packed file has another length than its header says.
    """
    shape, offset = read_header(path, dimensions)
    with _opened(path) as file:
        file.read(offset)
        for start in range(0, shape[0], rows):
            part = min(rows, shape[0] - start), *shape[1:]
            yield np.frombuffer(_exactly(file, prod(part), path), np.uint8).reshape(part)
        if file.read(1):
            raise UserError(f"{path}: goes on after what its header announces")


def read(path: Path, dimensions: range) -> NDArray[np.uint8]:
    """Return all values of an IDX file, read-only, with the errors of `blocks`."""
    (values,) = blocks(path, dimensions, 2**32)
    return values


def _exactly(file: IO[bytes], count: int, path: Path) -> bytes:
    pieces: list[bytes] = []
    while count:  # never more than a piece at once: a header may announce anything
        pieces.append(file.read(min(count, PIECE)))
        count -= len(pieces[-1])
        if not pieces[-1]:
            raise UserError(f"{path}: was cut off: its header announces more")
    return b"".join(pieces)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, and unpack it on the way if it is gzip data, whatever its name."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{path}: cannot be read: {why}; run `dvc repro download`") from None
