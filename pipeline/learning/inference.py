"""What a model says of examples without being trained on them: loss, accuracy, probabilities.

Examples are read by the thousand and computed in smaller blocks, which TensorFlow runs side by
side. Sums are added in the order of the blocks, so the bits do not depend on the number of threads.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.data.arrays import Features
from pipeline.exact import features, softmax
from pipeline.graph import graph
from pipeline.modelling.logits import logits_of, score
from pipeline.modelling.model import Model
from pipeline.modelling.sums import Sums, bounded, sum_blocks, sums_of, zero_sums

CHUNK = 8192  # examples read at a time
BLOCK = 512  # examples computed at a time: few enough for a cache
ALIGNED = 64  # bytes: TensorFlow takes over memory that begins at a multiple of these

Blocks = Iterable[tuple[tf.Tensor, tf.Tensor]]


def make_evaluate(model: Model) -> Callable[[Blocks], tuple[Any, Any]]:
    """Return a function that takes `tensor_blocks` and returns mean loss and accuracy.

    Both are float64; for models side by side, they are arrays with a number for each.
    """

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
    """Return the `TensorSpec` of a tensor or array like this one, with any number of rows."""
    return tf.TensorSpec([None, *like.shape[1:]], like.dtype)


def judge(
    model: Model, x: tf.Tensor, y: tf.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities, float64 (n, classes), and the losses in nats, float64 (n,).

    The losses are those of `score`. The most probable class is the one that `score` takes for the
    model's answer; of equally probable classes, it is the first.

    Parameters
    ----------
    model : Model
    x, y : tensor
        Examples and labels, as `tensor_blocks` yields them.
    """
    logits = _logits(model, x)
    losses, _, _ = score(logits, y)
    return _softmax(logits).numpy(), losses.numpy().astype(np.float64)


def probabilities(model: Model, x: Features) -> NDArray[np.float32]:
    """Return softmax(logits), float32 (n, classes), for features x, (n, features)."""
    starts = range(0, len(x), CHUNK)
    blocks = (prepared(model, x[start : start + CHUNK]) for start in starts)
    parts = [_softmax(_logits(model, block)).numpy().astype(np.float32) for block in blocks]
    return np.concatenate(parts)


def _logits(model: Model, x: tf.Tensor) -> tf.Tensor:
    """Return the logits of a chunk; models that are not exact may need much memory an example."""
    if model.exact:
        return logits_of(model, x)
    starts = range(0, len(x), BLOCK)
    return tf.concat([logits_of(model, x[start : start + BLOCK]) for start in starts], 0)


def _softmax(logits: tf.Tensor) -> tf.Tensor:
    """Return softmax(logits) as float64: in float32, unequal logits could become equal."""
    exact = logits.dtype == tf.float64
    return (softmax.probabilities if exact else tf.nn.softmax)(tf.cast(logits, tf.float64))


def tensor_blocks(
    model: Model, x: Features, y: NDArray[np.uint8]
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yield x, as the model takes it, and y, int32 (n,), as tensors of up to CHUNK examples."""
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        yield prepared(model, x[rows]), tf.constant(y[rows].astype(np.int32))


def prepared(model: Model, x: Features) -> tf.Tensor:
    """Return features as the model takes them: integers if it computes exactly, else float32."""
    if model.exact:
        return features.resident(x, whole=features.are_bytes(x))
    return scaled(tensor(x))


def scaled(x: tf.Tensor) -> tf.Tensor:
    """Return x as float32: bytes are divided by 255, as preprocess would have done it."""
    if x.dtype == tf.float32:
        return x
    with tf.init_scope():  # not a graph constant: Grappler would turn x / 255 into x * (1 / 255),
        white = tf.constant(255.0)  # which rounds differently
    return tf.cast(x, tf.float32) / white


def tensor(array: Features) -> tf.Tensor:
    """Return the array as a tensor, which shares its memory if TensorFlow can use that.

    Then a memory-mapped file is read once, and processes that train on it share its pages.
    """
    if array.flags.writeable and array.flags.c_contiguous and array.ctypes.data % ALIGNED == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)
