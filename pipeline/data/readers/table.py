"""Tables in CSV or Parquet: a column of labels, and other columns that hold numbers."""

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.data.examples import Examples, File
from pipeline.data.readers.columns import Columns
from pipeline.data.readers.diagnosis import problem
from pipeline.data.readers.labels import numbered
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.settings.dataset import Dataset


def read(
    folder: Path,
    dataset: Dataset,
    *,
    train: File,
    label: str,
    test: File | None = None,
    labels: list[int | str] | None = None,
    drop: list[str] | None = None,
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ",",
    skip: Annotated[int, Field(ge=0)] = 0,
    decimal: Literal[".", ","] = ".",
    columns: Annotated[list[str], Field(min_length=2)] | Annotated[int, Field(ge=2)] | None = None,
) -> dict[str, Examples]:
    """Read a table to train on, and one to test on if there is one.

    If the data set's shape is that of images, rows are images.

    Parameters
    ----------
    train, test : str
        The files, as `Columns` reads them.
    label : str
        The column of the labels.
    labels : list of int or str, optional
        What that column holds for each class, if it is not the classes' names.
    drop : list of str, optional
        Columns that are not features.
    separator : str
        Between the values of a row of a CSV file.
    skip : int
        Lines of a CSV file before its header, or before its first row if it has no header.
    decimal : str
        What stands before the fraction of a number in a CSV file.
    columns : list of str or int, optional
        The names of the columns of a CSV file that has no header, or how many there are: they are
        then called 1, 2 and so on.

    Raises
    ------
    UserError
        With the file, and the row or the columns: if a label or a number is missing, a feature is
        not a finite number, or the file is damaged.
    """
    given = column_names(columns)
    examples: dict[str, Examples] = {}
    are_images, expected = len(dataset.shape) > 1, None
    for part, name in (("train", train), ("test", test)):
        if name is not None:
            file = Columns(folder / name, separator, skip, given, decimal)
            place, features = shown(file.path), features_of(file, label, drop or ())
            shape = tuple(dataset.shape) if are_images else (len(features),)
            if prod(shape) != len(features):
                raise UserError(
                    f"{place}: has {len(features)} columns of features, not the {prod(shape)} of "
                    f"the shape {shape}"
                )
            expected = expected or features
            if features != expected:
                raise UserError(f"{place}: must have the columns of {train}, in their order")
            examples[part] = Examples(
                labels=numbered(text(file, label), dataset.classes, labels, place),
                shape=shape,
                dtype=np.dtype(np.float64),
                blocks=partial(blocks, file, features, shape),
                features=None if are_images else features,
                place=place,
            )
    return examples


def column_names(columns: list[str] | int | None) -> list[str] | None:
    """Return the names that the option `columns` gives: a number stands for 1, 2 and so on."""
    return list(map(str, range(1, columns + 1))) if isinstance(columns, int) else columns


def text(file: Columns, name: str) -> NDArray[Any]:
    """Return the labels, text (rows,), of a column in which none may be missing.

    Raises
    ------
    UserError
        If one is missing.
    """
    from pyarrow import compute

    parts = [np.empty(0, object)]
    for batch in file.batches(texts=[name]):
        column = batch.column(0)
        empty = compute.fill_null(compute.equal(column, ""), True)
        if (first := compute.index(empty, True).as_py()) >= 0:
            row = file.first + sum(map(len, parts)) + first
            raise UserError(f"{shown(file.path)}: row {row} has no label, in column {name!r}")
        coded = column.dictionary_encode()  # so that equal texts are one object
        values = coded.dictionary.to_numpy(zero_copy_only=False)
        parts.append(values[coded.indices.to_numpy(zero_copy_only=False)])
    labels = np.concatenate(parts)
    if not len(labels):
        raise UserError(f"{shown(file.path)}: has no rows")
    return labels


def features_of(file: Columns, label: str, drop: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns that are features.

    Raises
    ------
    UserError
        If there are none, or the file lacks a column.
    """
    names = file.names()
    for name in (label, *drop):
        if name not in names:
            listed = ", ".join(names[:20])
            raise UserError(f"{shown(file.path)}: has no column {name!r}; its columns are {listed}")
    features = tuple(name for name in names if name not in (label, *drop))
    if not features:
        raise UserError(f"{shown(file.path)}: has no column of features besides {label!r}")
    return features


def blocks(
    file: Columns, features: Sequence[str], shape: tuple[int, ...], *, needed: bool = False
) -> Iterator[NDArray[np.float64]]:
    """Yield columns as examples, float64 (k, *shape); `needed` is for the error, see `problem`."""
    try:
        for batch in file.batches(numbers=features):
            block = np.column_stack([one.to_numpy(zero_copy_only=False) for one in batch])
            if not np.isfinite(block).all():
                raise ValueError
            yield block.reshape(len(block), *shape)
    except ValueError:
        raise UserError(f"{shown(file.path)}: {problem(file, features, needed=needed)}") from None
