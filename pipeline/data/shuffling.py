"""The order of the training examples in each epoch, and the rows of a file in this order."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Features

BLOCK = 256  # neighbouring rows of the file that come into the same window
READ_AHEAD = 2**28  # bytes of rows that are read while the piece before is used
THREADS = 4  # that read: enough to keep a disk busy
WINDOW = 65_536  # rows that are shuffled together; smaller sets are shuffled as a whole


def windows(rows: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yield the order of the examples in an epoch, a window of rows at a time.

    A pure function of (seed, epoch). Up to `WINDOW` rows it is one uniform permutation. Beyond,
    blocks of neighbouring rows are permuted, and then the rows within each window of blocks, so
    that a file larger than memory is read in long stretches.
    """
    generator = np.random.default_rng([seed, epoch])
    if rows <= WINDOW:
        yield generator.permutation(rows)
        return
    blocks = generator.permutation(-(-rows // BLOCK))
    for start in range(0, len(blocks), WINDOW // BLOCK):
        chosen = blocks[start : start + WINDOW // BLOCK]
        window = (chosen[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        yield generator.permutation(window[window < rows])


def order(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the whole order of an epoch, int64 (rows,): each row once."""
    return np.concatenate(list(windows(rows, seed, epoch)))


def pieces(rows: int, size: int, seed: int, epoch: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Yield `order` in pieces of whole batches; the last batch of the epoch may be smaller.

    Parameters
    ----------
    rows, seed, epoch : int
        As for `order`.
    size : int
        Rows of a batch.
    most : int
        Rows of a piece at most, unless a single batch has more.
    """
    rest = np.empty(0, np.int64)
    for window in windows(rows, seed, epoch):
        ready = np.concatenate([rest, window])
        whole = len(ready) - len(ready) % size
        step = max(most // size, 1) * size
        for start in range(0, whole, step):
            yield ready[start : min(start + step, whole)]
        rest = ready[whole:]
    if len(rest):
        yield rest


def streamed(
    x: Features, y: NDArray[np.uint8], size: int, seed: int, epoch: int
) -> Iterator[tuple[Features, NDArray[np.int32], NDArray[np.int64]]]:
    """Yield the `pieces` of an epoch: rows of x and y in the order of the file, and their order.

    The order has the positions of the rows as the batches take them. While a piece is used, threads
    read the next. They call `read`, because mapped pages are slow to be dropped when memory is
    short. The prefetching of tf.data would do nothing: with op determinism, it is left out around
    Python code.

    Parameters
    ----------
    x : array of float32 or uint8 (n, features)
        Mapped, from the first row of the file on.
    y : array of uint8 (n,)
    size, seed, epoch : int
        Rows of a batch; what the order depends on.
    """
    mapped: Any = x
    most = READ_AHEAD // x[:1].nbytes
    with Path(mapped.filename).open("rb") as file, ThreadPoolExecutor(THREADS) as pool:
        coming: deque[tuple[Any, Any, Any, Iterator[None]]] = deque()
        for piece in pieces(len(x), size, seed, epoch, most):
            rows = np.sort(piece)
            buffer = np.empty((len(rows), x.shape[1]), x.dtype)
            starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
            offsets = mapped.offset + rows[starts] * x[:1].nbytes
            parts = np.split(buffer, starts[1:])
            reads = pool.map(partial(_read, file), offsets.tolist(), parts)
            coming.append((buffer, y[rows].astype(np.int32), np.searchsorted(rows, piece), reads))
            if len(coming) > 1:
                yield _arrived(*coming.popleft())
        yield _arrived(*coming.popleft())


def _read(file: BufferedReader, offset: int, into: Features) -> None:
    if os.preadv(file.fileno(), [into.data], offset) != into.nbytes:
        raise OSError(f"{file.name}: was cut off while it was read")


def _arrived(x: Features, y: Any, order: Any, reads: Iterator[None]) -> tuple[Any, Any, Any]:
    list(reads)  # waits for them, and raises what one has raised
    return x, y, order
