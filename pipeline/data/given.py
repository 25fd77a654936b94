"""Arrays that somebody gives, as training and inference take them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Pixels
from pipeline.data.examples import NUMBERS
from pipeline.data.scaling import LARGEST
from pipeline.errors import UserError, first_line

MOST_CLASSES = 256
ROWS = 8192  # looked at at a time


def examples(x: Any) -> tuple[Pixels, tuple[int, ...]]:
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


def check(x: Pixels, *, exact: bool) -> None:
    """Refuse numbers that a model cannot take, which may be one that computes exactly."""
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
    """Return the labels, uint8 (n,), of so many examples.

    Raises
    ------
    UserError
        If there is another number of them, or they are not whole numbers that a byte holds.
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


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # of lists of different lengths
        raise UserError(f"{name}: is not an array: {first_line(error)}") from None
