"""The arrays of examples: read, and divided into those to train on and those held out."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data import description
from pipeline.errors import UserError
from pipeline.files import reading, shown
from pipeline.settings.dataset import Dataset
from pipeline.settings.explain import where_set
from pipeline.settings.schema import Config

Features = NDArray[np.float32] | NDArray[np.uint8]
Arrays = tuple[Features, NDArray[np.uint8]]


class Split(NamedTuple):
    """The training set, divided.

    Attributes
    ----------
    training, validation : pair of arrays
        x and y of the examples to train on, and of those held out, which may be none.
    shape : tuple of int
        Of an example, which is a row of x.
    """

    training: Arrays
    validation: Arrays
    shape: tuple[int, ...]


def split(config: Config) -> Split:
    """Return the training set, of which the last `train.validation_size` rows are held out.

    Preprocess has written the rows in an order in which any number of the last ones may be.

    Raises
    ------
    UserError
        If no examples are left to train on, and as `load` does.
    """
    folder = config.paths.processed
    x, y = load(folder, "train", config.dataset)
    shape = description.read(folder, config.dataset).shape
    return divided(x, y, shape, config.train.validation_size)


def divided(x: Features, y: NDArray[np.uint8], shape: tuple[int, ...], size: float) -> Split:
    """Return examples of which the last are held out.

    Parameters
    ----------
    x : array of float32 or uint8 (n, features)
    y : array of uint8 (n,)
    shape : tuple of int
        Of an example.
    size : int or float
        How many are held out, or which share of them, at least one.

    Raises
    ------
    UserError
        If no examples are left to train on.
    """
    held_out = size if isinstance(size, int) else max(math.floor(size * len(x) + 0.5), 1)
    rows = len(x) - held_out
    if rows < 1:
        raise UserError(
            f"{where_set('train.validation_size')} should be less than the {len(x):,} training "
            f"examples, not {held_out:,}"
        )
    return Split((x[:rows], y[:rows]), (x[rows:], y[rows:]), shape)


def load(folder: Path, name: str, dataset: Dataset) -> Arrays:
    """Map x, float32 or uint8 (n, features), and y, uint8 (n,), of `train` or `test` into memory.

    With `storage: uint8`, x holds bytes 0..255, not yet divided by 255.

    Raises
    ------
    UserError
        If an array is missing, cannot be read, or has another type or shape; or if dataset.json
        describes other arrays, or another data set.
    """
    x, y = (_map(folder / f"{array}_{name}.npy") for array in "xy")
    described = description.read(folder, dataset)
    features = math.prod(described.shape)
    types = x.dtype in (np.float32, np.uint8) and y.dtype == np.uint8
    if not types or y.ndim != 1 or x.shape != (len(y), features):
        raise UserError(
            f"{folder}: x_{name}.npy is {x.dtype} {x.shape}, y_{name}.npy {y.dtype} {y.shape}; "
            f"float32 or uint8 (n, {features}) and uint8 (n,) are needed: "
            "run `dvc repro preprocess`"
        )
    if description.sha256_of(y) != described.hashes.get(f"y_{name}"):
        raise UserError(
            f"{shown(folder)}: y_{name}.npy is not the one that {description.NAME} describes: "
            "run `dvc repro preprocess`"
        )
    return x, y


def _map(path: Path) -> NDArray[Any]:
    with reading(path, "preprocess"):
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array
