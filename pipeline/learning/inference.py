"""What a model says of examples without being trained on them: loss, accuracy, probabilities.

Examples are brought in by the thousand and computed in smaller blocks, which TensorFlow runs side
by side; their sums are added in the order of the blocks, so that the bits do not depend on how many
threads there are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.data.arrays import Pixels
from pipeline.models import Model

CHUNK = 8192  # examples brought in at a time
BLOCK = 512  # examples computed at a time: few enough for a cache
ALIGNED = 64  # bytes: where the memory of a tensor may begin

Sums = tuple[tf.Tensor, tf.Tensor]  # of the losses, float64, and of the correct answers, int64
Blocks = Iterable[tuple[tf.Tensor, tf.Tensor]]


def cross_entropy(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return -log softmax(logits)[y], float32 (n,), in nats, computed stably from the logits.

    As one operation: what `tf.nn` makes of it under op determinism is for GPUs, and a dozen.
    """
    loss, _ = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=y)
    return loss


class Score:
    """How logits are judged: the cross-entropy of each example, and whether it is right."""

    shape: tuple[int, ...] = ()  # of the sum of a value over examples

    def __call__(self, logits: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the losses, float32 (n,), and 1 for each right answer, else 0, int64 (n,).

        An example is right if its largest logit is at its label; of equal ones the first counts.
        """
        correct = tf.equal(tf.argmax(logits, 1, tf.int32), y)
        return cross_entropy(logits, y), tf.cast(correct, tf.int64)


def zero_sums(score: Score) -> Sums:
    """Return the sums of no examples."""
    return tf.zeros(score.shape, tf.float64), tf.zeros(score.shape, tf.int64)


def add(sums: Sequence[Any], terms: Sequence[Any]) -> tuple[Any, ...]:
    """Return the elementwise sum."""
    return tuple(a + b for a, b in zip(sums, terms, strict=True))


def sum_blocks(terms: Callable[[Any], Sequence[Any]], rows: Any, size: int, sums: Any) -> Any:
    """Return `sums` plus the terms of each of the starts 0, size, 2 size ... below `rows`.

    In a graph, the terms of two starts are computed side by side, and added in their order.
    """

    def step(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return start + size, *add(sums, terms(start))

    loop = (tf.constant(0), *sums)
    return tf.while_loop(lambda start, *_: start < rows, step, loop, parallel_iterations=2)[1:]


def block_metrics(model: Model, score: Score, x: tf.Tensor, y: tf.Tensor) -> Sums:
    """Return the sums of a few examples."""
    losses, correct = score(model(x), y)
    return tf.reduce_sum(tf.cast(losses, tf.float64), -1), tf.reduce_sum(correct, -1)


def make_evaluate(
    model: Model, *, often: bool, score: Score | None = None
) -> Callable[[Blocks], tuple[Any, Any]]:
    """Return the mean cross-entropy, in nats, and the accuracy as a function of `tensor_blocks`.

    If it is called often, it pays to make a graph of it first.
    """
    judge = score or Score()

    def sums(x: tf.Tensor, y: tf.Tensor) -> Sums:
        def of_block(start: Any) -> Sums:
            rows = slice(start, start + BLOCK)
            return block_metrics(model, judge, x[rows], y[rows])

        return sum_blocks(of_block, tf.size(y), BLOCK, zero_sums(judge))

    compute = tf.function(sums, autograph=False, reduce_retracing=True) if often else sums

    def evaluate(blocks: Blocks) -> tuple[Any, Any]:
        loss, correct, examples = 0.0, 0, 0
        for x, y in blocks:
            read_loss, read_correct = compute(x, y)
            loss, correct = loss + read_loss.numpy(), correct + read_correct.numpy()
            examples += len(y)
        return loss / examples, correct / examples

    return evaluate


def block_sizes(rows: int) -> frozenset[int]:
    """Return how many rows there are in the blocks that an evaluation computes."""
    parts = (min(rows, CHUNK), rows % CHUNK)
    return frozenset(size for part in parts for size in (min(part, BLOCK), part % BLOCK)) - {0}


def predict(model: Model, x: tf.Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the most probable classes, int64 (n,), and their probabilities, float32 (n,)."""
    probability = tf.nn.softmax(model(x)).numpy()
    return probability.argmax(1), probability.max(1)


def probabilities(model: Model, x: Pixels) -> NDArray[np.float32]:
    """Return softmax(logits), float32 (n, classes)."""
    starts = range(0, len(x), CHUNK)
    return np.concatenate(
        [tf.nn.softmax(model(scaled(tensor(x[start : start + CHUNK])))) for start in starts]
    )


def tensor_blocks(x: Pixels, y: NDArray[np.uint8]) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yield x and y as tensors, some thousand examples at a time."""
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        yield scaled(tensor(x[rows])), tf.constant(y[rows].astype(np.int32))


def scaled(x: tf.Tensor) -> tf.Tensor:
    """Return x as float32 in [0, 1]: bytes over 255, as preprocess would have divided them."""
    if x.dtype == tf.float32:
        return x
    with tf.init_scope():  # not a graph constant: Grappler would turn x / 255 into x * (1 / 255),
        white = tf.constant(255.0)  # which rounds differently
    return tf.cast(x, tf.float32) / white


def tensor(array: Pixels) -> tf.Tensor:
    """Return the array as a tensor, on the same memory if TensorFlow can use that, else as a copy.

    So a memory-mapped file is read once, and processes that train on it share it.
    """
    if array.flags.writeable and array.flags.c_contiguous and array.ctypes.data % ALIGNED == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)
