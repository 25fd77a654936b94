"""The format of a .npy file: its header, and rows that are written in any order."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files import cannot_write

HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether it is in Fortran's order, and the dtype.

    Raises
    ------
    Exception
        Of many kinds, as NumPy meets whatever is not such a header.
    """
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"the version {version} is unknown")
    shape, fortran, dtype = HEADERS[version](stream)
    return shape, fortran, dtype


class RowWriter:
    """Writes rows of an array to a file, in whatever order they come.

    They are written as files are: in a memory map, a full disk would kill the process, and pages
    that have been used are slow to be dropped.

    Parameters
    ----------
    temporary, path : Path
        The file that is written, and the name that messages call it by.
    shape : pair of int
    dtype : dtype
    """

    def __init__(self, temporary: Path, path: Path, shape: tuple[int, int], dtype: np.dtype[Any]):
        self._path, self._size = path, shape[1] * dtype.itemsize
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        with self.named_errors():
            self._file = temporary.open("wb")
            np.lib.format.write_array_header_1_0(self._file, header)
            self._start = self._file.tell()

    def write(self, values: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Write rows of values (k, columns) as those rows of the array."""
        if not len(values):
            return
        ends = np.flatnonzero(np.diff(places) != 1) + 1
        with self.named_errors():
            for first, last in zip([0, *ends], [*ends, len(places)], strict=True):
                self._file.seek(self._start + int(places[first]) * self._size)
                self._file.write(np.ascontiguousarray(values[first:last]).data)

    def finish(self) -> None:
        """Write what is left in the buffer."""
        with self.named_errors():
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Say of an error of the disk which file could not be written."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path, error) from error
