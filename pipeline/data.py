"""Examples for training: the arrays, their order in each epoch, and batches of them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import idx
from pipeline.config import Dataset
from pipeline.errors import UserError
from pipeline.files import require, shown

BLOCK = 256  # rows that lie together in the file
LABELS: dict[str, Literal["train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"]] = {
    "train": "train-labels-idx1-ubyte",
    "test": "t10k-labels-idx1-ubyte",
}
WINDOW = 65_536  # rows that are shuffled together; smaller sets are shuffled as a whole

Arrays = tuple[NDArray[np.float32], NDArray[np.uint8]]


def load(folder: Path, split: str, dataset: Dataset) -> Arrays:
    """Map a split's x, float32 (n, features), and y, uint8 (n,), into memory.

    Raises
    ------
    UserError
        If an array is missing, not readable, or not of that type and shape, a label is not a class,
        or the labels are not those of the data set.
    """
    x, y = (_map(require(folder / f"{name}_{split}.npy", "preprocess")) for name in "xy")
    if x.dtype != np.float32 or x.ndim != 2 or y.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise UserError(
            f"{folder}: x_{split}.npy is {x.dtype} {x.shape}, y_{split}.npy {y.dtype} {y.shape}; "
            "float32 (n, features) and uint8 (n,) are needed: run `dvc repro preprocess`"
        )
    if y.max(initial=0) >= len(dataset.classes):
        raise UserError(
            f"{folder}/y_{split}.npy: label {y.max()} is not one of {len(dataset.classes)} classes"
        )
    raw = hashlib.sha256(idx.header(y.shape) + y.tobytes()).hexdigest()
    if raw != dataset.files[LABELS[split]]:
        raise UserError(
            f"{shown(folder)}: holds another data set than conf/dataset/{dataset.name}.yaml: "
            f"set `dataset: {dataset.name}` in params.yaml and run `dvc repro`"
        )
    return x, y


def _map(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}): run `dvc repro preprocess`") from None
    return array


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


def batches(
    x: NDArray[np.float32], y: NDArray[np.uint8], size: int, seed: int, epoch: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """Yield an epoch's batches from arrays that may be larger than memory, in `order`.

    The rows of a window are read in the order of the file, then shuffled in memory.
    """
    rest_x = np.empty((0, x.shape[1]), np.float32)
    rest_y = np.empty(0, np.int32)
    for window in windows(len(x), seed, epoch):
        in_file = np.sort(window)
        position = np.searchsorted(in_file, window)
        window_x = np.concatenate([rest_x, x[in_file][position]])
        window_y = np.concatenate([rest_y, y[window].astype(np.int32)])
        whole = len(window_x) - len(window_x) % size
        for start in range(0, whole, size):
            yield window_x[start : start + size], window_y[start : start + size]
        rest_x, rest_y = window_x[whole:], window_y[whole:]
    if len(rest_x):
        yield rest_x, rest_y
