"""The reader of IDX files of unsigned bytes, plain or .gz, as MNIST and its like come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data import idx
from pipeline.data.examples import Examples, File
from pipeline.errors import UserError
from pipeline.settings.dataset import Dataset

BLOCK = 512  # examples at a time: few enough for a cache
Pair = Annotated[list[File], Field(min_length=2, max_length=2)]


def read(
    folder: Path,
    dataset: Dataset,
    *,
    train: Pair,
    test: Pair | None = None,
    first_label: Annotated[int, Field(ge=0, le=255)] = 0,
    transposed: bool = False,
) -> dict[str, Examples]:
    """Return the examples of IDX files.

    Parameters
    ----------
    train, test : pair of str
        The names of the files of images and of labels.
    first_label : int
        The label of the first class: EMNIST's letters count from 1.
    transposed : bool
        Whether images lie on their side, column by column, as EMNIST's do.

    Raises
    ------
    UserError
        If a file is damaged, there are more or fewer labels than images, or a label is no class.
    """
    found = {}
    for part, pair in (("train", train), ("test", test)):
        if pair:
            images, labels = (folder / name for name in pair)
            found[part] = _examples(
                images, _labels(labels, len(dataset.classes), first_label), labels, transposed
            )
    return found


def _examples(path: Path, y: NDArray[np.uint8], labels: Path, transposed: bool) -> Examples:
    dimensions = range(2, idx.MOST_DIMENSIONS + 1)
    (rows, *shape), _ = idx.read_header(path, dimensions)
    if rows != len(y):
        raise UserError(f"{labels}: has {len(y):,} labels for {rows:,} images")
    turned = transposed and len(shape) > 1
    if turned:
        shape[:2] = shape[1::-1]

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for block in idx.blocks(path, dimensions, BLOCK):
            yield block.swapaxes(1, 2) if turned else block

    return Examples(
        labels=y,
        shape=tuple(shape),
        dtype=np.dtype(np.uint8),
        blocks=blocks,
        place=str(path),
    )


def _labels(path: Path, classes: int, first: int) -> NDArray[np.uint8]:
    raw = idx.read(path, range(1, 2))
    wrong = (raw < first) | (raw >= first + classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{path}: label {raw[row]} of example {row} is not a class: "
            f"the data set has {classes}, counted from {first}"
        )
    return raw - np.uint8(first)
