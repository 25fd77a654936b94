"""The epoch loop: mini-batch gradient descent on the softmax cross-entropy.

The whole epoch is one TensorFlow graph on tensors that stay in memory; larger sets are streamed
batch by batch through tf.data. Both take the same steps on the same batches.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline import data
from pipeline.errors import UserError
from pipeline.history import Epoch
from pipeline.models import Model

if TYPE_CHECKING:
    import keras

BLOCK = 8192  # examples at a time where nothing is trained
GATHERED = 16  # batches brought into the epoch's order at a time: they fit into the cache


Step = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
RunEpoch = Callable[[int], tuple[tf.Tensor, tf.Tensor]]


def train(
    model: Model,
    optimizer: "keras.optimizers.Optimizer",
    training: data.Arrays,
    validation: data.Arrays,
    *,
    epochs: int,
    batch_size: int | None,
    seed: int,
    resident: bool = True,
) -> Iterator[Epoch]:
    """Train the model in place, yielding the history's row after each epoch.

    Parameters
    ----------
    model : Model
        Its variables are updated.
    optimizer : keras.optimizers.Optimizer
        Its learning rate and state are its own.
    training, validation : pair of arrays
        x, float32 (n, features), and y, uint8 (n,); validation may have no rows.
    epochs : int
        How many times every example is used.
    batch_size : int or None
        Examples of a step; the last batch of an epoch may be smaller. None: all of them.
    seed : int
        Of the order of the examples; without effect on full batches, which keep the file's order.
    resident : bool
        Whether the training set is held in memory, else streamed.
    """
    rows = len(training[0])
    make = _resident if resident else _streamed
    run_epoch = make(make_step(model, optimizer), training, batch_size, seed)
    held_out = list(in_blocks(*validation)) if resident else None
    for epoch in range(1, epochs + 1):
        loss, correct = run_epoch(epoch)
        val_loss, val_accuracy = None, None
        if len(validation[0]):
            val_loss, val_accuracy = evaluate(model, held_out or in_blocks(*validation))
        yield Epoch(epoch, float(loss) / rows, int(correct) / rows, val_loss, val_accuracy)


def make_step(model: Model, optimizer: "keras.optimizers.Optimizer") -> Step:
    """Return the update on one batch, which gives the batch's summed loss and correct answers."""
    variables = list(model.weights.values())
    optimizer.build(variables)

    def step(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(x)
            losses = cross_entropy(logits, y)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.cast(tf.reduce_sum(losses), tf.float64), count_correct(logits, y)

    return step


def cross_entropy(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return -log softmax(logits)[y], float32 (n,), in nats, computed stably from the logits."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)


def count_correct(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return how many examples have their largest logit at their label, int64."""
    return tf.math.count_nonzero(tf.equal(tf.argmax(logits, 1, tf.int32), y))


def evaluate(model: Model, blocks: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> tuple[float, float]:
    """Return the mean cross-entropy, in nats, and the accuracy on `in_blocks(x, y)`."""
    loss, correct, examples = 0.0, 0, 0
    for x, y in blocks:
        logits = model(x)
        loss += float(tf.reduce_sum(tf.cast(cross_entropy(logits, y), tf.float64)))
        correct += int(count_correct(logits, y))
        examples += len(y)
    return loss / examples, correct / examples


def in_blocks(
    x: NDArray[np.float32], y: NDArray[np.uint8]
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yield x and y as tensors, some thousand examples at a time."""
    for start in range(0, len(x), BLOCK):
        block = slice(start, start + BLOCK)
        yield tf.constant(x[block]), tf.constant(y[block].astype(np.int32))


def probabilities(model: Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return softmax(logits), float32 (n, classes), in blocks."""
    starts = range(0, len(x), BLOCK)
    blocks = [tf.nn.softmax(model(tf.constant(x[start : start + BLOCK]))) for start in starts]
    return np.concatenate(blocks)


def _resident(step: Step, training: data.Arrays, batch_size: int | None, seed: int) -> RunEpoch:
    x, y = tf.constant(training[0]), tf.constant(training[1].astype(np.int32))
    if batch_size is None:
        full_batch = tf.function(step)
        return lambda epoch: full_batch(x, y)
    rows = len(training[0])
    chunk = GATHERED * batch_size

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def whole_epoch(order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss, correct = tf.constant(0.0, tf.float64), tf.constant(0, tf.int64)
        for start in tf.range(0, rows, chunk):
            chosen = order[start : start + chunk]
            chunk_x, chunk_y = tf.gather(x, chosen), tf.gather(y, chosen)
            for first in tf.range(0, tf.size(chosen), batch_size):
                batch_x = chunk_x[first : first + batch_size]
                batch_y = chunk_y[first : first + batch_size]
                step_loss, step_correct = step(batch_x, batch_y)
                loss += step_loss
                correct += step_correct
        return loss, correct

    return lambda epoch: whole_epoch(tf.constant(data.order(rows, seed, epoch)))


def _streamed(step: Step, training: data.Arrays, batch_size: int | None, seed: int) -> RunEpoch:
    if batch_size is None:
        raise UserError(
            "train.batch_size: null puts the whole training set into every step, and it is larger "
            "than resident_bytes: set a batch size or raise resident_bytes"
        )
    features = training[0].shape[1]
    signature = (tf.TensorSpec([None, features], tf.float32), tf.TensorSpec([None], tf.int32))

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def whole_epoch(dataset: tf.data.Dataset) -> tuple[tf.Tensor, tf.Tensor]:
        loss, correct = tf.constant(0.0, tf.float64), tf.constant(0, tf.int64)
        for x, y in dataset:
            step_loss, step_correct = step(x, y)
            loss += step_loss
            correct += step_correct
        return loss, correct

    def run_epoch(epoch: int) -> tuple[tf.Tensor, tf.Tensor]:
        dataset = tf.data.Dataset.from_generator(
            lambda: data.batches(*training, batch_size, seed, epoch), output_signature=signature
        )
        return whole_epoch(dataset.prefetch(2))

    return run_epoch
