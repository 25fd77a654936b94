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

READ = 8192  # examples brought in at a time
BLOCK = 512  # examples computed at a time: few enough for a cache
ALIGNED = 64  # bytes: where the memory of a tensor may begin
WHITE = tf.constant(255.0)  # no constant of a graph, which would multiply by its rounded inverse

Sums = tuple[tf.Tensor, tf.Tensor]  # of the losses, float64, and of the correct answers, int64
Blocks = Iterable[tuple[tf.Tensor, tf.Tensor]]


def cross_entropy(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return -log softmax(logits)[y], float32 (n,), in nats, computed stably from the logits.

    As one operation: what `tf.nn` makes of it under op determinism is for GPUs, and a dozen.
    """
    loss, _ = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=y)
    return loss


def is_correct(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return 1 for each example that has its largest logit at its label, else 0, int64 (n,)."""
    return tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), y), tf.int64)


def nothing(model: Model) -> Sums:
    """Return the sums of no examples."""
    shape = [] if model.heads == 1 else [model.heads]
    return tf.zeros(shape, tf.float64), tf.zeros(shape, tf.int64)


def of_heads(model: Model, logits: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return logits (n heads, classes), all of an example together, and a label for each."""
    if model.heads == 1:
        return logits, y
    labels = tf.tile(y[:, None], [1, model.heads])
    return tf.reshape(logits, [-1, logits.shape[1] // model.heads]), tf.reshape(labels, [-1])


def total(model: Model, values: tf.Tensor) -> tf.Tensor:
    """Return the sum of one value an example; of several heads, of each, in the same order."""
    if model.heads == 1:
        return tf.reduce_sum(values)
    return tf.reduce_sum(tf.transpose(tf.reshape(values, [-1, model.heads])), 1)


def plus(sums: Sequence[Any], terms: Sequence[Any]) -> tuple[Any, ...]:
    """Return the elementwise sum."""
    return tuple(a + b for a, b in zip(sums, terms, strict=True))


def add_up(terms: Callable[[Any], Sequence[Any]], rows: Any, size: int, sums: Any) -> Any:
    """Return `sums` plus the terms of each of the starts 0, size, 2 size ... below `rows`.

    In a graph, the terms of two starts are computed side by side, and added in their order.
    """

    def add(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return start + size, *plus(sums, terms(start))

    loop = (tf.constant(0), *sums)
    return tf.while_loop(lambda start, *_: start < rows, add, loop, parallel_iterations=2)[1:]


def sums_of_block(model: Model, x: tf.Tensor, y: tf.Tensor) -> Sums:
    """Return the sums of a few examples, each head's if there are several."""
    logits, y = of_heads(model, model(x), y)
    losses = tf.cast(cross_entropy(logits, y), tf.float64)
    return total(model, losses), total(model, is_correct(logits, y))


def make_evaluate(model: Model, *, often: bool) -> Callable[[Blocks], tuple[Any, Any]]:
    """Return the mean cross-entropy, in nats, and the accuracy as a function of `read(x, y)`.

    They are numbers, arrays (heads,) if the model has several heads. If it is called often, it
    pays to make a graph of it first.
    """

    def sums(x: tf.Tensor, y: tf.Tensor) -> Sums:
        def of_block(start: Any) -> Sums:
            rows = slice(start, start + BLOCK)
            return sums_of_block(model, x[rows], y[rows])

        return add_up(of_block, tf.size(y), BLOCK, nothing(model))

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
    parts = (min(rows, READ), rows % READ)
    return frozenset(size for part in parts for size in (min(part, BLOCK), part % BLOCK)) - {0}


def best(model: Model, x: tf.Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the most probable classes, int64 (n,), and their probabilities, float32 (n,)."""
    probability = tf.nn.softmax(model(x)).numpy()
    return probability.argmax(1), probability.max(1)


def probabilities(model: Model, x: Pixels) -> NDArray[np.float32]:
    """Return softmax(logits), float32 (n, classes)."""
    starts = range(0, len(x), READ)
    return np.concatenate(
        [tf.nn.softmax(model(scaled(tensor(x[start : start + READ])))) for start in starts]
    )


def read(x: Pixels, y: NDArray[np.uint8]) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yield x and y as tensors, some thousand examples at a time."""
    for start in range(0, len(x), READ):
        rows = slice(start, start + READ)
        yield scaled(tensor(x[rows])), tf.constant(y[rows].astype(np.int32))


def scaled(x: tf.Tensor) -> tf.Tensor:
    """Return x as float32 in [0, 1]: bytes over 255, as preprocess would have divided them."""
    return x if x.dtype == tf.float32 else tf.cast(x, tf.float32) / WHITE


def tensor(array: Pixels) -> tf.Tensor:
    """Return the array as a tensor, on the same memory if TensorFlow can use that, else as a copy.

    So a memory-mapped file is read once, and processes that train on it share it.
    """
    if array.flags.writeable and array.flags.c_contiguous and array.ctypes.data % ALIGNED == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)
