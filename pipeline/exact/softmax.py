"""Softmax cross-entropy, its gradient, and probabilities, from logits rounded to 2^-24."""

from functools import cache

import tensorflow as tf

from pipeline.exact.tables import CUT, FINE, LOGIT, POINTS, STEPS, Tables, tables

LARGEST_SUM = 2.0**29  # nats: smaller sums of losses are exact, in any order
COARSE = CUT << (LOGIT - FINE)  # entries of the coarse table


def cross_entropy(logits: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return -log softmax(logits)[y] in nats, whether y is the answer, and the gradient.

    The answer is the class with the largest logit; of equal ones, it is the first.

    Parameters
    ----------
    logits : tensor of float64 (n, ..., classes)
        Of one model, or of several side by side.
    y : tensor of int32 (n,)

    Returns
    -------
    losses : tensor of float64 (n, ...)
    correct : tensor of bool (n, ...)
    gradient : tensor of float64 (n, ..., classes)
        Of the losses by the logits.
    """
    classes = logits.shape[-1]
    y = tf.reshape(y, [-1, *[1] * (len(logits.shape) - 2)])
    label = tf.one_hot(y, classes, dtype=tf.float64)
    below = _below(logits)
    exps, total = _exps(below)
    loss = tf.round(_log(tf.squeeze(total, -1)) + tf.reduce_sum(below * label, -1))
    correct = tf.equal(tf.argmax(exps, -1, tf.int32), y)
    return loss * 2.0**-LOGIT, correct, exps / total - label


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Return softmax(logits), float64 (n, ..., classes)."""
    exps, total = _exps(_below(logits))
    return exps / total


def _below(logits: tf.Tensor) -> tf.Tensor:
    """Return by how much each logit is below the largest: integers in units of 2^-24."""
    rounded = tf.round(logits * 2.0**LOGIT)
    return tf.reduce_max(rounded, -1, keepdims=True) - rounded


def _exps(below: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return 2^40 exp(-t), rounded to integers, of t in units of 2^-24, and their exact sum."""
    t = tf.cast(tf.minimum(below, float(CUT << LOGIT) - 1), tf.int64)
    coarse = tf.gather(_table().coarse, tf.bitwise.bitwise_and(_shifted(t, FINE), COARSE - 1))
    fine = tf.gather(_table().fine, tf.bitwise.bitwise_and(t, 2**FINE - 1))
    exps = tf.round(coarse * fine)
    return exps, tf.reduce_sum(exps, -1, keepdims=True)


def _log(total: tf.Tensor) -> tf.Tensor:
    """Return 2^24 log(total / 2^40)."""
    bits = tf.bitcast(total, tf.int64)
    point = tf.bitwise.bitwise_and(_shifted(bits, 52 - STEPS), POINTS - 1)
    return tf.gather(_table().log, point) + tf.gather(_table().slope, point) * total


def _shifted(integers: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(integers, tf.constant(bits, tf.int64))


@cache
def _table() -> Tables:
    with tf.init_scope():  # one copy for all graphs
        return Tables(*map(tf.constant, tables()))
