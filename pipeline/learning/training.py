"""The training loop: mini-batch gradient descent on the model's loss, epoch after epoch.

A whole epoch is one TensorFlow graph, on tensors that share the memory of the mapped files. A
training set larger than memory is read piece by piece, through tf.data. Both take the same steps.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from pipeline.data import arrays, shuffling
from pipeline.exact import features
from pipeline.graph import apart, graph
from pipeline.learning.history import Epoch
from pipeline.learning.inference import any_rows, make_evaluate, scaled, tensor, tensor_blocks
from pipeline.modelling.model import Model
from pipeline.modelling.step import Step, make_step
from pipeline.modelling.sums import Sums, add, bounded, sum_blocks, zero_sums

if TYPE_CHECKING:
    import keras


RunEpoch = Callable[[int], Sums]  # of the number of an epoch
Steps = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Sums]  # of x, y and an order of their rows
Prepare = Callable[[tf.Tensor], tf.Tensor]  # of x as it is stored: x as the model takes it


def train(
    model: Model,
    optimizer: "keras.optimizers.Optimizer",
    training: arrays.Arrays,
    validation: arrays.Arrays,
    *,
    epochs: int,
    start: int = 1,
    batch_size: int | None,
    seed: int,
    resident: bool = True,
) -> Iterator[Epoch]:
    """Train the model in place; yield the row of the history after each epoch.

    Parameters
    ----------
    model : Model
        Its variables are updated.
    optimizer : keras.optimizers.Optimizer
        Its learning rate and state are its own.
    training, validation : pair of arrays
        x, float32 in [0, 1] or uint8 (n, features), and y, uint8 (n,); validation may have no rows.
    epochs : int
        How many times every example is used.
    start : int
        The first epoch, 1 unless the model and the optimizer are as epochs before have left them.
    batch_size : int or None
        Examples of a step; the last batch of an epoch may be smaller. None: all of them.
    seed : int
        Of the order of the examples, and of what is random in the model's training. A full batch
        has the order of the file.
    resident : bool
        Whether the training set is kept in memory; else it is read in pieces.

    Yields
    ------
    Epoch
        Its metrics are lists if the model is several models side by side.
    """
    rows = len(training[0])
    run_epoch = _make_run_epoch(
        model, optimizer, training, batch_size=batch_size, seed=seed, resident=resident
    )
    evaluate = make_evaluate(model)
    held_out = list(tensor_blocks(model, *validation)) if resident else None
    for epoch in range(start, epochs + 1):
        metrics = [sums.numpy() / rows for sums in run_epoch(epoch)]
        if len(validation[0]):
            metrics += evaluate(held_out or tensor_blocks(model, *validation))
        yield Epoch(epoch, *(np.asarray(metric).tolist() for metric in metrics))


def _make_run_epoch(
    model: Model,
    optimizer: "keras.optimizers.Optimizer",
    training: arrays.Arrays,
    *,
    batch_size: int | None,
    seed: int,
    resident: bool,
) -> RunEpoch:
    """Return the function that trains one epoch: by full batches, from memory, or from the file."""
    step = make_step(model, optimizer, batch_size or len(training[0]), seed)
    whole = model.exact and features.are_bytes(training[0])

    def prepare(x: tf.Tensor) -> tf.Tensor:
        return features.fixed(x, whole=whole) if model.exact else scaled(x)

    if resident or batch_size is None:
        in_memory = resident and model.exact
        x = features.resident(training[0], whole=whole) if in_memory else tensor(training[0])
        y = tf.constant(training[1].astype(np.int32))
    if batch_size is None:
        return _by_full_batch(step, prepare, x, y)
    steps = _make_steps(model, step, prepare, batch_size)
    if resident:
        return _from_memory(steps, x, y, seed)
    return _from_file(model, steps, training, batch_size, seed)


def _by_full_batch(step: Step, prepare: Prepare, x: tf.Tensor, y: tf.Tensor) -> RunEpoch:
    """Train an epoch by one step on all examples, in the order of the file."""
    rows = len(y)
    # not a constant of the graph: Grappler would turn the division by it into a product
    count = tf.constant(rows)

    def full_batch() -> Sums:
        def fetch(start: Any, stop: Any) -> arrays.Arrays:
            return prepare(x[start:stop]), y[start:stop]

        return bounded(step(fetch, count))

    whole_epoch = graph(full_batch)
    return lambda epoch: whole_epoch()


def _make_steps(model: Model, step: Step, prepare: Prepare, batch_size: int) -> Steps:
    """Return the steps on the batches of an order, one after the other."""

    def steps(x: tf.Tensor, y: tf.Tensor, order: tf.Tensor) -> Sums:
        def of_batch(first: tf.Tensor) -> Sums:
            chosen = order[first : first + batch_size]

            def fetch(start: Any, stop: Any) -> arrays.Arrays:
                part = chosen[start:stop]
                return prepare(tf.gather(x, part)), tf.gather(y, part)

            return step(fetch, tf.size(chosen))

        return bounded(sum_blocks(of_batch, tf.size(order), batch_size, zero_sums(model)))

    return steps


def _from_memory(steps: Steps, x: tf.Tensor, y: tf.Tensor, seed: int) -> RunEpoch:
    """Train an epoch by one graph, on tensors of all examples."""
    rows = len(y)
    whole_epoch = graph(steps, x, y, tf.TensorSpec([rows], tf.int64))
    return lambda epoch: whole_epoch(x, y, tf.constant(shuffling.order(rows, seed, epoch)))


def _from_file(
    model: Model, steps: Steps, training: arrays.Arrays, batch_size: int, seed: int
) -> RunEpoch:
    """Train an epoch piece by piece, as `shuffling.streamed` reads them."""
    labels, positions = (tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.int64))
    signature = any_rows(training[0]), labels, positions
    piece_of_epoch = graph(steps, *signature)

    def streamed_epoch(epoch: int) -> Sums:
        def pieces() -> Iterator[Any]:
            return shuffling.streamed(*training, batch_size, seed, epoch)

        sums = zero_sums(model)
        for piece in apart(
            partial(tf.data.Dataset.from_generator, pieces, output_signature=signature)
        ):
            sums = add(sums, piece_of_epoch(*piece))
        return sums

    return streamed_epoch
