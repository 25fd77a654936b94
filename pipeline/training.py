"""The epoch loop: mini-batch gradient descent on the softmax cross-entropy.

The whole epoch is one TensorFlow graph on tensors that stay in memory; larger sets are streamed
batch by batch through tf.data. Both take the same steps on the same batches.

A batch is computed in blocks of rows, which TensorFlow runs side by side, and their gradients are
added in the order of the blocks: the bits do not depend on how many threads there are.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from pipeline import data
from pipeline.errors import UserError
from pipeline.history import Epoch
from pipeline.inference import (
    Sums,
    add_up,
    count_correct,
    cross_entropy,
    make_evaluate,
    nothing,
    plus,
    read,
    tensor,
)
from pipeline.models import Model

if TYPE_CHECKING:
    import keras

LEAST, MOST = 64, 512  # rows of a block: enough to pay for its operations, few enough for a cache

Fetch = Callable[[Any, Any], tuple[tf.Tensor, tf.Tensor]]  # rows from start to stop of a batch
Step = Callable[[Fetch, Any], Sums]
RunEpoch = Callable[[int], Sums]


def train(
    model: Model,
    optimizer: "keras.optimizers.Optimizer",
    training: data.Arrays,
    validation: data.Arrays,
    *,
    epochs: int,
    start: int = 1,
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
    start : int
        The first epoch, 1 unless the model and the optimizer are as epochs before have left them.
    batch_size : int or None
        Examples of a step; the last batch of an epoch may be smaller. None: all of them.
    seed : int
        Of the order of the examples; without effect on full batches, which keep the file's order.
    resident : bool
        Whether the training set is held in memory, else streamed.
    """
    rows = len(training[0])
    step = make_step(model, optimizer, batch_size or rows)
    make = _resident if resident else _streamed
    run_epoch = make(step, training, batch_size, seed)
    evaluate = make_evaluate(model, often=True)
    held_out = list(read(*validation)) if resident else None
    for epoch in range(start, epochs + 1):
        loss, correct = run_epoch(epoch)
        val_loss, val_accuracy = None, None
        if len(validation[0]):
            val_loss, val_accuracy = evaluate(held_out or read(*validation))
        yield Epoch(epoch, float(loss) / rows, int(correct) / rows, val_loss, val_accuracy)


def make_step(model: Model, optimizer: "keras.optimizers.Optimizer", batch_size: int) -> Step:
    """Return the update on one batch of up to `batch_size` rows.

    It is called with a function that fetches rows of the batch and their number, and gives the sum
    of the losses and the number of correct answers.
    """
    variables = list(model.weights.values())
    optimizer.build(variables)
    block = min(max(-(-batch_size // 2), LEAST), MOST)

    def step(fetch: Fetch, rows: tf.Tensor) -> Sums:
        def of_block(start: Any) -> tuple[tf.Tensor, ...]:
            x, y = fetch(start, start + block)
            with tf.GradientTape() as tape:
                logits = model(x)
                loss = tf.reduce_sum(cross_entropy(logits, y))
            gradients = tape.gradient(loss, variables)
            return tf.cast(loss, tf.float64), count_correct(logits, y), *gradients

        sums = (*nothing(), *(tf.zeros_like(variable) for variable in variables))
        if batch_size <= 2 * block:  # a loop in the graph would cost more
            for start in range(0, batch_size, block):
                sums = plus(sums, of_block(start))
        else:
            sums = add_up(of_block, rows, block, sums)
        loss, correct, *total = sums
        mean = [gradient / tf.cast(rows, tf.float32) for gradient in total]
        optimizer.apply_gradients(zip(mean, variables, strict=True))
        return loss, correct

    return step


def _resident(step: Step, training: data.Arrays, batch_size: int | None, seed: int) -> RunEpoch:
    x, y = tensor(training[0]), tf.constant(training[1].astype(np.int32))
    rows = len(training[0])
    if batch_size is None:

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def full_batch() -> Sums:
            return step(lambda start, stop: (x[start:stop], y[start:stop]), tf.constant(rows))

        return lambda epoch: full_batch()

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def whole_epoch(order: tf.Tensor) -> Sums:
        def of_batch(first: tf.Tensor) -> Sums:
            chosen = order[first : first + batch_size]

            def fetch(start: Any, stop: Any) -> data.Arrays:
                return tf.gather(x, chosen[start:stop]), tf.gather(y, chosen[start:stop])

            return step(fetch, tf.size(chosen))

        return add_up(of_batch, rows, batch_size, nothing())

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
    def whole_epoch(dataset: tf.data.Dataset) -> Sums:
        loss, correct = tf.constant(0.0, tf.float64), tf.constant(0, tf.int64)
        for x, y in dataset:

            def fetch(start: Any, stop: Any, x: tf.Tensor = x, y: tf.Tensor = y) -> data.Arrays:
                return x[start:stop], y[start:stop]

            step_loss, step_correct = step(fetch, tf.size(y))
            loss += step_loss
            correct += step_correct
        return loss, correct

    def run_epoch(epoch: int) -> Sums:
        dataset = tf.data.Dataset.from_generator(
            lambda: data.batches(*training, batch_size, seed, epoch), output_signature=signature
        )
        return whole_epoch(dataset.prefetch(2))

    return run_epoch
