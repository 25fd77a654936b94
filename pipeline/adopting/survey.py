"""What the values of a data set are like: one pass, which also shows that all can be read."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from pipeline.data.examples import Examples
from pipeline.errors import UserError


@dataclass(frozen=True)
class Survey:
    """The examples of a data set, counted and measured.

    Attributes
    ----------
    shape : tuple of int
        Of one example.
    scale : str
        What suits the values: bytes over 255, pictures and tables by what the training part holds.
    rows : dict of str to int
        Examples of each part.
    constant : list of str
        Columns of a table that have the same value in each training example.
    """

    shape: tuple[int, ...]
    scale: str
    rows: dict[str, int]
    constant: list[str]


def survey(parts: dict[str, Examples]) -> Survey:
    """Read all examples once.

    Raises
    ------
    UserError
        If one cannot be read, or the parts have different shapes.
    """
    train = parts["train"]
    for part in parts.values():
        if part.shape != train.shape:
            raise UserError(
                f"{part.place}: examples are {part.shape}, but those of {train.place} {train.shape}"
            )
    low, high = _range(train)
    for name, part in parts.items():
        if name != "train":
            _range(part)
    features = train.features or ()
    return Survey(
        train.shape,
        _scale(train, float(low.min()), float(high.max())),
        {name: part.rows for name, part in parts.items()},
        [name for name, same in zip(features, low == high, strict=bool(features)) if same],
    )


def _range(examples: Examples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest value of each feature."""
    low, high = np.full(prod(examples.shape), np.inf), np.full(prod(examples.shape), -np.inf)
    for _, rows in examples.flat():
        low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
    return low, high


def _scale(examples: Examples, low: float, high: float) -> str:
    if examples.dtype == np.uint8:
        return "bytes"
    if len(examples.shape) == 1:
        return "standardise"
    return "none" if low >= 0 and high <= 1 else "minmax"
