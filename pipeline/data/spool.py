"""Rows of an array larger than memory, written in an order of their own.

A disk takes rows that are written here and there by the page, ten times as slowly as one after the
other. So they go into buckets first, by where they belong, and then from one bucket after the
other, in order, to their places.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.npy import RowWriter

LARGE = 2**30  # bytes of an array that may not stay in memory while it is written
BUCKET = 2**26  # bytes of a bucket, two or three times of which are in memory
MOST_FILES = 256  # that are open at once


class Spool:
    """Takes rows in whatever order, and hands them to a writer in the order of the array.

    Parameters
    ----------
    writer : RowWriter
        Of an array of this shape and dtype.
    folder : Path
        On whose disk the buckets lie; they vanish with the process.
    """

    def __init__(
        self, writer: RowWriter, folder: Path, shape: tuple[int, int], dtype: np.dtype[Any]
    ):
        self._writer = writer
        self._record = np.dtype([("place", np.int64), ("row", dtype, shape[1:])])
        self._rows = max(BUCKET // self._record.itemsize, -(-shape[0] // MOST_FILES), 1)
        with writer.named_errors():
            buckets = range(0, shape[0], self._rows)
            self._files = [tempfile.TemporaryFile(dir=folder) for _ in buckets]  # noqa: SIM115  # until `close`

    def write(self, values: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Take rows of values (k, columns) that belong at those places of the array."""
        order = np.argsort(places)
        records = np.empty(len(places), self._record)
        records["place"], records["row"] = places[order], values[order]
        ends = np.searchsorted(records["place"], self._rows * np.arange(1, len(self._files)))
        with self._writer.named_errors():
            for file, part in zip(self._files, np.split(records, ends), strict=True):
                file.write(part.tobytes())

    def finish(self) -> None:
        """Write all rows to their places."""
        for file in self._files:
            with self._writer.named_errors():
                file.seek(0)
                records = np.frombuffer(file.read(), self._record)
            order = np.argsort(records["place"])
            self._writer.write(records["row"][order], records["place"][order])
            file.truncate(0)  # makes room for what comes
        self._writer.finish()

    def close(self) -> None:
        """Give the buckets up."""
        for file in self._files:
            file.close()
        self._writer.close()
