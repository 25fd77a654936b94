"""What a model says of examples without being trained on them: loss, accuracy, probabilities.

Examples are brought in by the thousand and computed in smaller blocks, which TensorFlow runs side
by side; their sums are added in the order of the blocks, so that the bits do not depend on how many
threads there are.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.data.arrays import Pixels
from pipeline.exact import features, softmax
from pipeline.graph import graph
from pipeline.modelling.logits import logits_of, score
from pipeline.modelling.model import Model
from pipeline.modelling.sums import Sums, bounded, sum_blocks, sums_of, zero_sums

CHUNK = 8192  # examples brought in at a time
BLOCK = 512  # examples computed at a time: few enough for a cache
ALIGNED = 64  # bytes: where the memory of a tensor may begin

Blocks = Iterable[tuple[tf.Tensor, tf.Tensor]]


def make_evaluate(model: Model) -> Callable[[Blocks], tuple[Any, Any]]:
    """Return the mean of the model's loss and the accuracy as a function of `tensor_blocks`."""

    def sums(x: tf.Tensor, y: tf.Tensor) -> Sums:
        def of_block(start: Any) -> Sums:
            rows = slice(start, start + BLOCK)
            losses, correct, _ = score(logits_of(model, x[rows]), y[rows], model.own_loss)
            return sums_of(losses, correct)

        return bounded(sum_blocks(of_block, tf.size(y), BLOCK, zero_sums(model)))

    compute: Any = None  # the graph, once the type of the examples is known

    def evaluate(blocks: Blocks) -> tuple[Any, Any]:
        nonlocal compute
        loss, correct, examples = 0.0, 0, 0
        for x, y in blocks:
            compute = compute or graph(sums, any_rows(x), any_rows(y))
            read_loss, read_correct = compute(x, y)
            loss, correct = loss + read_loss.numpy(), correct + read_correct.numpy()
            examples += len(y)
        return loss / examples, correct / examples

    return evaluate


def any_rows(like: Any) -> tf.TensorSpec:
    """Return what describes a tensor or array like this one, of any number of rows."""
    return tf.TensorSpec([None, *like.shape[1:]], like.dtype)


def judge(
    model: Model, x: tf.Tensor, y: tf.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities, float64 (n, classes), and the losses in nats, float64 (n,).

    The losses are those of `score`, and the first of the largest probabilities is the answer that
    it judges.
    """
    logits = _logits(model, x)
    losses, _, _ = score(logits, y)
    return _softmax(logits).numpy(), losses.numpy().astype(np.float64)


def probabilities(model: Model, x: Pixels) -> NDArray[np.float32]:
    """Return softmax(logits), float32 (n, classes)."""
    starts = range(0, len(x), CHUNK)
    blocks = (prepared(model, x[start : start + CHUNK]) for start in starts)
    parts = [_softmax(_logits(model, block)).numpy().astype(np.float32) for block in blocks]
    return np.concatenate(parts)


def _logits(model: Model, x: tf.Tensor) -> tf.Tensor:
    """Return the logits of some thousand examples; what is not exact may need much memory each."""
    if model.exact:
        return logits_of(model, x)
    starts = range(0, len(x), BLOCK)
    return tf.concat([logits_of(model, x[start : start + BLOCK]) for start in starts], 0)


def _softmax(logits: tf.Tensor) -> tf.Tensor:
    """Return softmax(logits), float64: float32 could make unequal logits equal."""
    exact = logits.dtype == tf.float64
    return (softmax.probabilities if exact else tf.nn.softmax)(tf.cast(logits, tf.float64))


def tensor_blocks(
    model: Model, x: Pixels, y: NDArray[np.uint8]
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yield x, as the model takes it, and y as tensors, some thousand examples at a time."""
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        yield prepared(model, x[rows]), tf.constant(y[rows].astype(np.int32))


def prepared(model: Model, x: Pixels) -> tf.Tensor:
    """Return features as the model takes them: integers if it computes exactly, else float32."""
    if model.exact:
        return features.resident(x, whole=features.are_bytes(x))
    return scaled(tensor(x))


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
