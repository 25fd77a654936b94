"""Sums over blocks of examples, which are added in the order of the blocks."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pipeline.exact import softmax
from pipeline.modelling.model import Model

Sums = tuple[tf.Tensor, tf.Tensor]  # of the losses, float64, and of the correct answers, int64


def sums_of(losses: tf.Tensor, correct: tf.Tensor) -> Sums:
    """Return the sums over the examples of a block."""
    return (
        tf.reduce_sum(tf.cast(losses, tf.float64), 0),
        tf.reduce_sum(tf.cast(correct, tf.int64), 0),
    )


def bounded(sums: Sums) -> Sums:
    """Return the sums, with an infinite loss if it is too large to be exact, or not a number."""
    loss, correct = sums
    return tf.where(loss < softmax.LARGEST_SUM, loss, math.inf), correct


def zero_sums(model: Model) -> Sums:
    """Return the sums of no examples."""
    return tf.zeros(model.batch, tf.float64), tf.zeros(model.batch, tf.int64)


def add(sums: Sequence[Any], terms: Sequence[Any]) -> tuple[Any, ...]:
    """Return the elementwise sum."""
    return tuple(a + b for a, b in zip(sums, terms, strict=True))


def sum_blocks(terms: Callable[[Any], Sequence[Any]], rows: Any, size: int, sums: Any) -> Any:
    """Return `sums` plus `terms(start)` for start = 0, size, 2 size ... below `rows`.

    In a graph, two blocks are computed side by side. They are added in their order.
    """

    def step(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return start + size, *add(sums, terms(start))

    loop = (tf.constant(0), *sums)
    return tf.while_loop(lambda start, *_: start < rows, step, loop, parallel_iterations=2)[1:]
