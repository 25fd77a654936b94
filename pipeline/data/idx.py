"""The IDX format of the MNIST files: a magic number, the dimensions, the bytes.

The format is described at the end of the page of the MNIST data set (LeCun, Cortes and Burges):
two zero bytes, the type (8 for unsigned bytes), the number of dimensions, then each dimension as a
big-endian 32-bit integer, then the values in row-major order.
"""

import struct
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

UNSIGNED_BYTE = 8
MOST_DIMENSIONS = 4  # examples, rows, columns, channels


def header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file of unsigned bytes of that shape."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)


def read(path: Path, dimensions: range) -> NDArray[np.uint8]:
    """Map an IDX file of unsigned bytes into memory, read-only.

    Parameters
    ----------
    path : Path
        The uncompressed file.
    dimensions : range
        How many dimensions it may have: 1 for labels, 2 to 4 for images.

    Returns
    -------
    array of uint8
        Of the shape that the header gives, at least one example of at least one value.

    Raises
    ------
    UserError
        If the file is missing or unreadable, or its header and its length do not fit together.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4 + 4 * MOST_DIMENSIONS)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}; run `dvc repro download`"
        ) from None
    if size == 0:
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
    if size != offset + prod(shape):
        raise UserError(
            f"{path}: has {size:,} bytes where its header, with the shape {shape}, "
            f"asks for {offset + prod(shape):,}"
        )
    return np.memmap(path, np.uint8, "r", offset, shape)
