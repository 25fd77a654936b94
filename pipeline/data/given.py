"""Arrays that a caller gives: to train on, or to ask a trained model about."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Features
from pipeline.data.description import Description
from pipeline.data.examples import NUMBERS
from pipeline.data.scaling import LARGEST
from pipeline.errors import UserError, first_line
from pipeline.settings.dataset import MOST_CLASSES

ROWS = 8192  # examples that are checked at a time


def examples(x: Any) -> tuple[Features, tuple[int, ...]]:
    """Return x flat, uint8 or float32 (n, features), and the shape of an example.

    Raises
    ------
    UserError
        If it is no array of numbers with at least two axes, or empty.
    """
    array = _array("x", x)
    if array.dtype.kind not in NUMBERS or array.ndim < 2 or not array.size:
        raise UserError(
            f"x: should be numbers of the shape (n, features), or images (n, rows, columns), not "
            f"{array.dtype} {array.shape}"
        )
    flat = array.reshape(len(array), -1)
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float32)
    return np.ascontiguousarray(flat), array.shape[1:]


def check(x: Features, *, exact: bool) -> None:
    """Raise a UserError if a feature is not finite, or too large for a model that is `exact`."""
    if x.dtype == np.uint8:
        return
    most = LARGEST if exact else np.inf
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        if (wrong := ~(np.abs(rows) < most)).any():
            example, place = np.argwhere(wrong)[0]
            raise UserError(
                f"x: example {start + example} has the value {rows[example, place]:g}: features "
                f"should be finite and below {most:g}"
            )


def labels(y: Any, examples: int) -> NDArray[np.uint8]:
    """Return the labels of so many examples as uint8 (n,).

    Raises
    ------
    UserError
        If there are more or fewer, or they are not whole numbers from 0 to 255.
    """
    array = _array("y", y)
    if array.dtype.kind not in "ui" or array.shape != (examples,):
        raise UserError(
            f"y: should be {examples:,} whole numbers, one for each example, not "
            f"{array.dtype} {array.shape}"
        )
    if array.min() < 0 or array.max() >= MOST_CLASSES:
        raise UserError(
            f"y: classes are 0 to {MOST_CLASSES - 1}, not {array.min()} to {array.max()}"
        )
    return array.astype(np.uint8)


def as_trained(data: Any, described: Description, *, exact: bool) -> Features:
    """Return examples as the model was trained on them: flat and scaled, bytes as uint8.

    Parameters
    ----------
    data : array, DataFrame or list
        Of the shape (n, features), or images: numbers as the raw files hold them; of a data set
        with `scale: bytes`, bytes as uint8, or other numbers in [0, 1]. A table may have its
        columns in any order if it names them all.
    described : Description
    exact : bool
        Whether the model computes exactly, which bounds its features.

    Raises
    ------
    UserError
        If it is anything else, or empty.
    """
    names, features = described.features, math.prod(described.shape)
    if names and {*names} <= {*map(str, getattr(data, "columns", ()))}:
        data = data[names]
    try:
        array = np.asarray(data)
        if array.dtype == object:  # cells of several types, or each a list
            array = np.array(array.tolist(), np.float64)
    except (TypeError, ValueError, OverflowError):  # rows of different lengths, too
        array = np.array("")
    if array.dtype.kind not in NUMBERS:
        raise UserError(f"The input must be numbers, {features} for each example.")
    if not array.size:
        raise UserError("The input has no examples.")
    if array.ndim < 2 or math.prod(array.shape[1:]) != features:
        images = "".join(f", {size}" for size in described.shape)
        either = f", or images (n{images})" if len(described.shape) > 1 else ""
        raise UserError(
            f"The input has the shape {array.shape}, but must be (n, {features}){either}, "
            "also if n is 1."
        )
    array = array.reshape(len(array), features)
    if described.scale.kind == "bytes":
        if array.dtype == np.uint8:
            return array
        why = "but pixels lie between 0 and 1: divide bytes by 255, or give them as an array of "
        _refuse(~((array >= 0) & (array <= 1)), array, f"{why}uint8.")  # NaN is neither
        return array.astype(np.float32)
    _refuse(~np.isfinite(array), array, "which is not finite.")
    with np.errstate(over="ignore"):
        x = described.scaled(array)
    bounds = np.abs(x) < LARGEST if exact else np.isfinite(x)
    _refuse(~bounds, array, "which is too far from what the model was trained on.")
    return x


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # of lists of different lengths
        raise UserError(f"{name}: is not an array: {first_line(error)}") from None


def _refuse(wrong: NDArray[np.bool_], array: NDArray[Any], why: str) -> None:
    if wrong.any():
        example, place = np.argwhere(wrong)[0]
        raise UserError(f"Example {example} has the value {array[example, place]:g}, {why}")
