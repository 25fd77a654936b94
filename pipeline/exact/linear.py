"""x W + b and its gradients, in which every sum is exact.

In float64 a sum of products of integers is exact while it stays below 2^53. If one factor is bytes,
float32 will do, which is twice as fast: the other factor is split into digits of so few bits that
no sum reaches 2^24. Each digit of a column has a column of its own in the product (the scheme of
Ozaki, Ogita, Oishi and Rump, 2012).
"""

import math
from typing import Any

import tensorflow as tf

from pipeline.errors import UserError
from pipeline.exact.features import POINT
from pipeline.exact.grid import BITS, Grid, digits, on_grid, product, shares, transposed

ROWS = 256  # most examples whose gradient is one product
BYTE_BITS = 8
HIGH_BITS = 31 - POINT  # of an int32, before the point
DIGITS, GRADIENT_DIGITS = 3, 2  # of a weight and of a gradient that are multiplied by bytes
# Bounds of the largest value that a digit may have: 255 * ROWS * 2^8 < 2^24.
LEAST_DIGIT, LARGEST_DIGIT = 2**6, 2**8
GRADIENT_BITS = 26  # of a gradient that is multiplied by other features, in float64
FINEST = 2.0**-56  # gradients of floats are multiples of it, so that none is denormal in float32


def linear(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return x @ weight + bias, float64 (n, units).

    Parameters
    ----------
    x : tensor (n, inputs)
        Features as `fixed` returns them, or the float64 output of the layer before. Gradients need
        n to be at most ROWS.
    weight, bias : tensor of float32 (inputs, units) and (units,)
        Their gradients are float32 of the same shapes.

    Raises
    ------
    UserError
        If there are too many inputs for exact sums.
    """
    forms = {tf.uint8: _of_bytes, tf.int32: _of_fixed, tf.float64: _of_floats}
    return forms[x.dtype](x, tf.convert_to_tensor(weight), tf.convert_to_tensor(bias))


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _of_bytes(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
    pixels = tf.cast(x, tf.float32)

    def gradients(dy: tf.Tensor) -> tuple[None, tf.Tensor, tf.Tensor]:
        _check_rows(dy)
        (high, low), unit = digits(dy, 0, LARGEST_DIGIT, GRADIENT_DIGITS)
        low *= 0.5 / LARGEST_DIGIT
        columns = tf.cast(tf.concat([high, low], 1), tf.float32)
        high_sums, low_sums = tf.split(
            tf.matmul(columns, pixels, transpose_a=True), GRADIENT_DIGITS
        )
        scale = tf.cast(tf.transpose(unit) * (1 / 255), tf.float32)
        by_weight = tf.transpose((high_sums + low_sums) * scale)
        by_bias = tf.reduce_sum(high + low, 0) * tf.squeeze(unit, 0)
        return None, by_weight, tf.cast(by_bias, tf.float32)

    sums, unit = _byte_sums(pixels, weight)
    return sums * (unit * (1 / 255)) + tf.cast(bias, tf.float64), gradients


def _byte_sums(pixels: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return pixels @ weight in units of the columns, and these units.

    Each weight is first rounded to `weight_bits` below the largest of its column.
    """
    inputs, _ = weight.shape
    most = _largest_digit(inputs)
    if 255 * inputs * most > 2**24:  # too many for digits: the same sums, slower
        grid = _weight_grid(weight, BYTE_BITS)
        return tf.matmul(tf.cast(pixels, tf.float64), grid.integers), grid.unit
    found, unit = digits(weight, 0, most, DIGITS)
    sums = tf.cast(tf.matmul(pixels, tf.concat(found, 1)), tf.float64)
    high, middle, low = tf.split(sums, DIGITS, 1)
    exact = high + (middle * (0.5 / most) + low * (0.5 / most) ** 2)
    return exact, tf.cast(unit, tf.float64)


def _largest_digit(inputs: int) -> int:
    """Return the largest power of two that digits may reach in sums over so many bytes."""
    allowed = max(2**24 // (255 * inputs), 1)
    return min(max(LEAST_DIGIT, 1 << (allowed.bit_length() - 1)), LARGEST_DIGIT)


def weight_bits(inputs: int) -> int:
    """Return to how many bits, below its column's largest, a weight is rounded in the product."""
    return DIGITS * _largest_digit(inputs).bit_length() - 1


def _weight_grid(weight: tf.Tensor, feature_bits: int) -> Grid:
    inputs, _ = weight.shape
    bits = weight_bits(inputs)
    if math.log2(inputs) + bits + feature_bits > BITS:
        raise UserError(
            f"{inputs:,} features are too many for exact sums: set determinism: machine"
        )
    return on_grid(tf.cast(weight, tf.float64), 0, bits)


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _of_fixed(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Compute `linear` of fixed-point features: with the bits of `_of_bytes` if all are whole."""
    high = tf.bitwise.right_shift(x, POINT)
    parts = [
        (tf.cast(high, tf.float64), 1.0),
        (tf.cast(x - tf.bitwise.left_shift(high, POINT), tf.float64), 2.0**-POINT),
    ]

    def gradients(dy: tf.Tensor) -> tuple[None, tf.Tensor, tf.Tensor]:
        _check_rows(dy)
        grid = on_grid(dy, 0, GRADIENT_BITS)
        sums = [tf.matmul(part, grid.integers, transpose_a=True) * unit for part, unit in parts]
        by_bias = tf.reduce_sum(grid.integers, 0) * tf.squeeze(grid.unit, 0)
        return None, _float32(tf.add_n(sums) * (grid.unit * (1 / 255))), _float32(by_bias)

    grid = _weight_grid(weight, HIGH_BITS)
    high_sums, low_sums = (tf.matmul(part, grid.integers) * unit for part, unit in parts)
    sums = (high_sums + low_sums) * (grid.unit * (1 / 255))
    return sums + tf.cast(bias, tf.float64), gradients


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _of_floats(x: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
    wide = tf.cast(weight, tf.float64)
    inputs, units = weight.shape

    def gradients(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        _check_rows(dy)
        bits = shares(ROWS)
        columns = on_grid(dy, 0, bits[1])
        by_weight = product(transposed(on_grid(x, 0, bits[0])), columns)
        by_bias = tf.reduce_sum(columns.integers, 0) * tf.squeeze(columns.unit, 0)
        bits = shares(units)
        by_x = product(on_grid(dy, 1, bits[0]), transposed(on_grid(wide, 1, bits[1])))
        return by_x, _float32(by_weight), _float32(by_bias)

    bits = shares(inputs)
    sums = product(on_grid(x, 1, bits[0]), on_grid(wide, 0, bits[1]))
    return sums + tf.cast(bias, tf.float64), gradients


def _float32(gradient: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(gradient / FINEST) * FINEST, tf.float32)


def _check_rows(dy: tf.Tensor) -> None:
    if dy.shape[0] is not None and dy.shape[0] > ROWS:
        raise ValueError(f"gradients are of {ROWS} examples at a time, not of {dy.shape[0]:,}")
