"""Arrays that NumPy has saved: .npy files, or members of .npz archives. Nothing is unpickled."""

from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo

from pipeline.data.examples import NUMBERS, Examples, is_listed
from pipeline.data.readers.labels import numbered
from pipeline.data.readers.saved import opened
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.settings.dataset import Dataset

BLOCK_BYTES = 2**24
BLOCK = 4096  # examples at a time, at most
LABELS = "biuUS"  # kinds of dtypes


def _in_a_file(name: str, info: ValidationInfo) -> str:
    file, end, _ = name.rpartition(".npz/")
    is_listed(f"{file}.npz" if end else name, info)
    return name


Array = Annotated[str, AfterValidator(_in_a_file)]  # FILE.npy, or ARCHIVE.npz/ARRAY
Pair = Annotated[list[Array], Field(min_length=2, max_length=2)]


def read(
    folder: Path,
    dataset: Dataset,
    *,
    train: Pair,
    test: Pair | None = None,
    labels: list[int | str] | None = None,
    channels_first: bool = False,
) -> dict[str, Examples]:
    """Read the examples of arrays x, (n, ...), and y, (n,) or (n, 1).

    Parameters
    ----------
    train, test : pair of str
        Names of x and y: FILE.npy, or ARCHIVE.npz/ARRAY.
    labels : list of int or str, optional
        What y holds for each class, if that is not the class's name.
    channels_first : bool
        Whether x is (n, channels, height, width), as PyTorch has it; examples are (height, width,
        channels).

    Raises
    ------
    UserError
        If an array is missing, damaged or of another shape or type, or a label is of no class.
    """
    examples = {}
    for part, pair in (("train", train), ("test", test)):
        if pair:
            x, y = (folder / name for name in pair)
            values = text(y)
            rows, shape, dtype = _announced(x, channels_first)
            if rows != len(values):
                raise UserError(f"{shown(y)}: has {len(values):,} labels for {rows:,} examples")
            examples[part] = Examples(
                labels=numbered(values, dataset.classes, labels, shown(y)),
                shape=shape,
                dtype=dtype,
                blocks=partial(_blocks, x, channels_first),
                place=shown(x),
            )
    return examples


def text(path: Path) -> NDArray[Any]:
    """Return the labels of an array, (n,); refuse all but integers, truth values and text."""
    with opened(path) as array:
        shape = array.shape[:1] if array.shape[1:] == (1,) else array.shape
        if len(shape) != 1 or array.dtype.kind not in LABELS:
            one = len(shape) == 1
            remedy = "save y.astype(int)" if one else "for one-hot labels, save y.argmax(1)"
            raise UserError(
                f"{shown(path)}: holds {array.dtype} {array.shape} where an integer or a text for "
                f"each example is needed: {remedy}"
            )
        values = array.whole().reshape(shape)
    return values.astype(str) if values.dtype.kind == "S" else values


def _announced(path: Path, channels_first: bool) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    """Return how many examples an array has, and the shape and the dtype of one."""
    with opened(path) as array:
        shape, dtype = array.shape, array.dtype
    if not 2 <= len(shape) <= 4 or not prod(shape) or dtype.kind not in NUMBERS:
        raise UserError(
            f"{shown(path)}: holds {dtype} {shape} where numbers (examples, ...) with 2 "
            "to 4 axes are needed"
        )
    if channels_first and len(shape) != 4:
        raise UserError(f"{shown(path)}: has no channels: it holds {shape}")
    return shape[0], (*shape[2:], shape[1]) if channels_first else shape[1:], dtype


def _blocks(path: Path, channels_first: bool) -> Iterator[NDArray[Any]]:
    with opened(path) as array:
        rows, *shape = array.shape
        size = max(min(BLOCK, BLOCK_BYTES // (prod(shape) * array.dtype.itemsize)), 1)
        whole = array.whole() if array.fortran else None
        for start in range(0, rows, size):
            count = min(size, rows - start)
            if whole is None:
                block = array.values(count * prod(shape)).reshape(count, *shape)
            else:
                block = whole[start : start + count]
            yield np.moveaxis(block, 1, -1) if channels_first else block
