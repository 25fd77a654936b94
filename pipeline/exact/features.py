"""Features as integers: bytes that stand for x / 255, or with binary digits after the point."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.errors import UserError

POINT = 14  # binary digits after the point
MOST = 512  # no feature has this magnitude: 31 bits hold them
CHUNK = 512  # rows at a time: few enough for a cache


def are_bytes(x: NDArray[Any]) -> bool:
    """Tell whether all features, (n, features), are bytes or, as float32, bytes over 255.

    One that is too large, or not a number, is refused.
    """
    whole = True
    for start, rows in _chunks(x) if x.dtype != np.uint8 else ():
        numbers = _in_bytes(rows)
        whole = whole and bool(
            tf.reduce_all(tf.cast(fixed(rows, whole=True), tf.float64) == numbers)
        )
        sound = tf.reduce_all(tf.abs(numbers) < 255.0 * MOST, 1).numpy()
        if not sound.all():
            raise UserError(
                f"example {start + sound.argmin():,} has a feature that is not between -{MOST} and "
                f"{MOST}: scale the features, or set determinism: machine"
            )
    return whole


def resident(x: NDArray[Any], *, whole: bool) -> tf.Tensor:
    """Return an array's features as `fixed` does."""
    return tf.concat([fixed(rows, whole=whole) for _, rows in _chunks(x)], 0)


def fixed(x: tf.Tensor, *, whole: bool) -> tf.Tensor:
    """Return float32 features as integers in units of 1 / 255, rounded to POINT binary digits.

    They are uint8 if all are whole, else int32, in units of 2^-POINT. Integers are returned as
    they are.
    """
    if x.dtype != tf.float32:
        return x
    numbers = _in_bytes(x)
    return tf.cast(numbers, tf.uint8) if whole else tf.cast(numbers * 2.0**POINT, tf.int32)


def _in_bytes(x: tf.Tensor) -> tf.Tensor:
    return tf.round(tf.cast(x, tf.float64) * (255.0 * 2**POINT)) * 2.0**-POINT


def _chunks(x: NDArray[Any]) -> Iterator[tuple[int, tf.Tensor]]:
    for start in range(0, len(x), CHUNK):
        yield start, tf.constant(x[start : start + CHUNK])
