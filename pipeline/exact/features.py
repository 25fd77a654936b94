"""Features as integers: bytes, in units of 1 / 255, or fixed-point numbers of these units."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.errors import UserError

POINT = 14  # binary digits after the point
MOST = 512  # every feature is smaller in magnitude: 255 * MOST * 2^POINT < 2^31
CHUNK = 512  # rows at a time: few enough for a cache


def are_bytes(x: NDArray[Any]) -> bool:
    """Tell whether all features, (n, features), are bytes, or float32 that are bytes over 255.

    Raises
    ------
    UserError
        If a feature is not a number, or its magnitude is MOST or more.
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
    """Return all features of an array, (n, features), as one tensor in the form of `fixed`."""
    return tf.concat([fixed(rows, whole=whole) for _, rows in _chunks(x)], 0)


def fixed(x: tf.Tensor, *, whole: bool) -> tf.Tensor:
    """Return features as fixed-point numbers: integers, the same for the same float32 everywhere.

    Parameters
    ----------
    x : tensor of float32 (n, features)
        Integers are returned as they are.
    whole : bool
        Whether all features are bytes over 255, as `are_bytes` tells.

    Returns
    -------
    tensor of uint8 or int32 (n, features)
        uint8 in units of 1 / 255 if they are whole; else int32 in units of 2^-POINT / 255.
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
