"""Numbers on a grid: integers times a power of two, of so few bits that no sum of them is rounded.

Powers of two scale without rounding. Which one scales a row or a column is decided by its largest
magnitude, which no order of the values changes.
"""

import math
from typing import NamedTuple

import tensorflow as tf

BITS = 53  # of a float64's significand: integers up to 2^53 are exact
LEAST = 2.0**-20  # a row or column whose values are all smaller has the grid of this value


class Grid(NamedTuple):
    """Values that are `integers * unit`."""

    integers: tf.Tensor
    unit: tf.Tensor  # powers of two, one a row or a column


def scale(values: tf.Tensor, axis: int) -> tf.Tensor:
    """Return the power of two at or below the largest magnitude along an axis.

    It is that magnitude without all bits but its exponent, so values / scale lie between -2 and 2.

    Parameters
    ----------
    values : tensor of float32 or float64
    axis : int
        It stays, with the length 1.
    """
    integer, mask = {
        tf.float32: (tf.int32, 0x7F800000),
        tf.float64: (tf.int64, 0x7FF0000000000000),
    }[values.dtype]
    largest = tf.maximum(tf.reduce_max(tf.abs(values), axis, keepdims=True), LEAST)
    exponent = tf.bitwise.bitwise_and(tf.bitcast(largest, integer), tf.constant(mask, integer))
    return tf.bitcast(exponent, values.dtype)


def on_grid(values: tf.Tensor, axis: int, bits: int) -> Grid:
    """Round float64 values to multiples of a unit, which is one for all values along an axis.

    The integers of the grid are at most 2^bits.
    """
    unit = scale(values, axis) * 2.0 ** (1 - bits)
    return Grid(tf.round(values / unit), unit)


def digits(
    values: tf.Tensor, axis: int, most: int, count: int
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Round values to sums of digits: d0 + d1 / (2 most) + d2 / (2 most)^2 ... times a unit.

    Parameters
    ----------
    values : tensor of float32 or float64
    axis : int
        Along which values have one unit.
    most : int
        A power of two: a digit is an integer from -most to most.
    count : int
        How many digits.

    Returns
    -------
    digits : list of tensor
        The most significant first.
    unit : tensor
        Of the first digit.
    """
    unit = scale(values, axis) * (2 / most)
    rest, found = values / unit, []
    for _ in range(count):
        found.append(tf.round(rest))
        rest = (rest - found[-1]) * (2 * most)  # exact: the bits that are left move up
    return found, unit


def product(a: Grid, b: Grid) -> tf.Tensor:
    """Return a @ b, float64 (n, m), exactly.

    Parameters
    ----------
    a, b : Grid
        Each row of a has a unit, and each column of b. They have as many bits as `shares` returns.
    """
    return tf.matmul(a.integers, b.integers) * (a.unit * b.unit)


def transposed(grid: Grid) -> Grid:
    """Return the grid with rows as columns."""
    return Grid(tf.transpose(grid.integers), tf.transpose(grid.unit))


def shares(terms: int) -> tuple[int, int]:
    """Return how many bits two factors may have, so that a sum of `terms` products is exact."""
    bits = BITS - math.ceil(math.log2(terms))
    return bits // 2, bits - bits // 2
