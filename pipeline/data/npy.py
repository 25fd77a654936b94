"""The header of a .npy file."""

from typing import IO, Any

import numpy as np

HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether the array is in Fortran's order, and the dtype.

    Raises
    ------
    Exception
        NumPy raises many kinds for a damaged header.
    """
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"the version {version} is unknown")
    shape, fortran, dtype = HEADERS[version](stream)
    return shape, fortran, dtype
