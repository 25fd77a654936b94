"""Writers of .npy files whose rows come in any order."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files import cannot_write

LARGE = 2**30  # bytes: a larger array may not fit into memory while it is written
BUCKET = 2**26  # bytes of a bucket; two or three times as many are in memory
MOST_FILES = 256  # that are open at once


class RowWriter:
    """Writes rows of an array to a file, in whatever order they come.

    It does not map the file into memory: then a full disk would kill the process, and used pages
    would be slow to be dropped.

    Parameters
    ----------
    temporary, path : Path
        The file that is written, and the name that messages call it by.
    shape, dtype
        Of the array.
    """

    def __init__(self, temporary: Path, path: Path, shape: tuple[int, int], dtype: np.dtype[Any]):
        self._path, self._size = path, shape[1] * dtype.itemsize
        descr = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        with self._named_errors():
            self._file = temporary.open("wb")
            np.lib.format.write_array_header_1_0(self._file, header)
            self._start = self._file.tell()

    def write(self, values: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Write values, (k, columns), as the rows of the array whose numbers are `places`, (k,)."""
        if not len(values):
            return
        ends = np.flatnonzero(np.diff(places) != 1) + 1
        with self._named_errors():
            for first, last in zip([0, *ends], [*ends, len(places)], strict=True):
                self._file.seek(self._start + int(places[first]) * self._size)
                self._file.write(np.ascontiguousarray(values[first:last]).data)

    def finish(self) -> None:
        """Write what is left in the buffer."""
        with self._named_errors():
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn an error of the disk into one that names the file."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path, error) from error


class Spool(RowWriter):
    """Writes rows of an array larger than memory in the order of the array.

    Rows that are written here and there take a disk ten times as long as rows one after the other.
    So each row first goes into the bucket of its part of the array. Then the buckets are read one
    after the other, and their rows are written in order. The buckets are files beside the one that
    is written, and vanish with the process.
    """

    def __init__(self, temporary: Path, path: Path, shape: tuple[int, int], dtype: np.dtype[Any]):
        super().__init__(temporary, path, shape, dtype)
        self._record = np.dtype([("place", np.int64), ("row", dtype, shape[1:])])
        self._rows = max(BUCKET // self._record.itemsize, -(-shape[0] // MOST_FILES), 1)
        with self._named_errors():
            buckets = range(0, shape[0], self._rows)
            self._buckets = [tempfile.TemporaryFile(dir=temporary.parent) for _ in buckets]  # noqa: SIM115  # until `close`

    def write(self, values: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Put rows into their buckets."""
        order = np.argsort(places)
        records = np.empty(len(places), self._record)
        records["place"], records["row"] = places[order], values[order]
        ends = np.searchsorted(records["place"], self._rows * np.arange(1, len(self._buckets)))
        with self._named_errors():
            for bucket, part in zip(self._buckets, np.split(records, ends), strict=True):
                bucket.write(part.tobytes())

    def finish(self) -> None:
        """Write all rows to their places."""
        for bucket in self._buckets:
            with self._named_errors():
                bucket.seek(0)
                records = np.frombuffer(bucket.read(), self._record)
            order = np.argsort(records["place"])
            super().write(records["row"][order], records["place"][order])
            bucket.truncate(0)  # makes room for what comes
        super().finish()

    def close(self) -> None:
        """Close the file, and give the buckets up."""
        for bucket in self._buckets:
            bucket.close()
        super().close()
