"""Keras's SGD and Adam, with steps that consist of correctly rounded operations.

Numbers so small that some processors would take them for zero are set to zero on all.
"""

import math
from typing import Any

import keras
import tensorflow as tf

LEAST = 2.0**-60  # a smaller change of a weight, or a smaller momentum, becomes 0
LEAST_SQUARE = 2.0**-100  # a smaller mean square of Adam becomes 0
STEP_BITS = 32  # of the number of a step
# Options of Keras's optimizers that leave the steps exact.
FREE = {"name", "learning_rate", "momentum", "nesterov", "beta_1", "beta_2", "epsilon"}


class SGD(keras.optimizers.SGD):  # type: ignore[misc]  # TensorFlow and Keras have no types
    """Stochastic gradient descent, with momentum and Nesterov momentum as options."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """Update a weight, float32 as its gradient."""
        step = gradient * tf.cast(learning_rate, tf.float32)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            new = settled(velocity * self.momentum - step)
            velocity.assign(new)
            step = step - new * self.momentum if self.nesterov else -new
        variable.assign_sub(settled(step))


class Adam(keras.optimizers.Adam):  # type: ignore[misc]  # they have no types
    """Adam; the powers of its betas are products, where Keras calls a library's `pow`."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """Update a weight, float32 as its gradient."""
        index = self._get_variable_index(variable)
        momentum, square = self._momentums[index], self._velocities[index]
        steps = self.iterations + 1
        left = [1.0 - power(beta, steps) for beta in (self.beta_1, self.beta_2)]
        rate = tf.cast(tf.cast(learning_rate, tf.float32), tf.float64)
        rate *= tf.sqrt(left[1]) / left[0]
        mean = settled(momentum + (gradient - momentum) * (1 - self.beta_1))
        mean_square = settled(
            square + (gradient * gradient - square) * (1 - self.beta_2), LEAST_SQUARE
        )
        momentum.assign(mean)
        square.assign(mean_square)
        step = mean * tf.cast(rate, tf.float32) / (tf.sqrt(mean_square) + self.epsilon)
        variable.assign_sub(settled(step))


def is_plain(optimizer: keras.optimizers.Optimizer) -> bool:
    """Tell whether an optimizer is one of these, without Keras's schedules, clipping, averaging."""
    if type(optimizer) not in (SGD, Adam):
        return False
    settings, plain = optimizer.get_config(), type(optimizer)().get_config()
    return isinstance(settings["learning_rate"], float) and all(
        settings[name] == value for name, value in plain.items() if name not in FREE
    )


def settled(values: tf.Tensor, least: float = LEAST) -> tf.Tensor:
    """Return the values, with 0 in place of those whose magnitude is below `least`."""
    return tf.where(tf.abs(values) < least, tf.zeros_like(values), values)


def power(base: float, exponent: tf.Tensor) -> tf.Tensor:
    """Return base^exponent, float64: the product of base^(2^k) over the bits k of the exponent."""
    squares = [base]
    for _ in range(STEP_BITS - 1):
        squares.append(squares[-1] * squares[-1])
    bits = tf.bitwise.right_shift(tf.cast(exponent, tf.int64), tf.range(STEP_BITS, dtype=tf.int64))
    odd = tf.equal(tf.bitwise.bitwise_and(bits, tf.constant(1, tf.int64)), 1)
    factors = tf.where(odd, tf.constant(squares, tf.float64), tf.ones(STEP_BITS, tf.float64))
    for _ in range(int(math.log2(STEP_BITS))):
        low, high = tf.split(factors, 2)
        factors = low * high
    return tf.squeeze(factors)
