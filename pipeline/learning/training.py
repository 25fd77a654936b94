"""The epoch loop: mini-batch gradient descent on the softmax cross-entropy.

The whole epoch is one TensorFlow graph on tensors that share the memory of the mapped files. Of a
set larger than memory, tf.data brings in one piece after the other. Both take the same steps.

A batch is computed in blocks of rows, which TensorFlow runs side by side, and their gradients are
added in the order of the blocks: the bits do not depend on how many threads there are.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from pipeline.data import arrays
from pipeline.exact import features
from pipeline.exact.linear import ROWS
from pipeline.graph import apart, graph
from pipeline.learning.history import Epoch
from pipeline.learning.inference import (
    Sums,
    add,
    any_rows,
    bounded,
    logits_of,
    make_evaluate,
    scaled,
    score,
    sum_blocks,
    sums_of,
    tensor,
    tensor_blocks,
    zero_sums,
)
from pipeline.models import Model

if TYPE_CHECKING:
    import keras

LEAST = 64  # rows of a block: enough to pay for its operations; few enough for a cache are ROWS

Examples = tuple[tf.Tensor, tf.Tensor]  # x and y
Fetch = Callable[[Any, Any], Examples]  # rows from start to stop of a batch
Step = Callable[[Fetch, Any], Sums]
RunEpoch = Callable[[int], Sums]


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
    """Train the model in place, yielding the history's row after each epoch.

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
        Of the order of the examples; without effect on full batches, which keep the file's order.
    resident : bool
        Whether the training set fits into memory, else it is read in pieces.
    """
    rows = len(training[0])
    run_epoch = _make_run_epoch(
        model, optimizer, training, batch_size=batch_size, seed=seed, resident=resident
    )
    evaluate = make_evaluate(model, often=True)
    held_out = list(tensor_blocks(model, *validation)) if resident else None
    for epoch in range(start, epochs + 1):
        metrics = [sums.numpy() / rows for sums in run_epoch(epoch)]
        if len(validation[0]):
            metrics += evaluate(held_out or tensor_blocks(model, *validation))
        yield Epoch(epoch, *(np.asarray(metric).tolist() for metric in metrics))


def block_rows(batch_size: int) -> int:
    """Return how many rows of a batch are computed at a time."""
    return min(max(-(-batch_size // 2), LEAST), ROWS)


def gradients(model: Model, parts: Sequence[Examples]) -> tuple[tf.Tensor, ...]:
    """Return the `Sums` of some blocks of examples, and the sum of their gradients by each weight.

    The weights are read once, so that TensorFlow makes once what is made of them alone.
    """
    variables, once = list(model.weights.values()), copy(model)
    with tf.GradientTape(persistent=True) as tape:
        once.weights = {name: tf.convert_to_tensor(one) for name, one in model.weights.items()}
        all_logits = [logits_of(once, x) for x, _ in parts]
    found: tuple[tf.Tensor, ...] = ()
    for logits, (_, y) in zip(all_logits, parts, strict=True):
        losses, correct, slope = score(logits, y)
        terms = *sums_of(losses, correct), *tape.gradient(logits, variables, slope)
        found = add(found, terms) if found else terms
    return found


def make_step(model: Model, optimizer: "keras.optimizers.Optimizer", batch_size: int) -> Step:
    """Return the update on one batch of up to `batch_size` rows.

    It is called with a function that fetches rows of the batch and their number, and gives the sum
    of the losses and the number of correct answers.
    """
    variables = list(model.weights.values())
    optimizer.build(variables)
    block = block_rows(batch_size)

    def step(fetch: Fetch, rows: tf.Tensor) -> Sums:
        def of_block(start: Any) -> tuple[tf.Tensor, ...]:
            return gradients(model, [fetch(start, start + block)])

        if batch_size <= 2 * block:  # a loop in the graph would cost more
            starts = range(0, batch_size, block)
            sums = gradients(model, [fetch(start, start + block) for start in starts])
        else:
            zeros = (tf.zeros_like(variable) for variable in variables)
            sums = sum_blocks(of_block, rows, block, (*zero_sums(model), *zeros))
        loss, correct, *total = sums
        mean = [gradient / tf.cast(rows, tf.float32) for gradient in total]
        optimizer.apply_gradients(zip(mean, variables, strict=True))
        return loss, correct

    return step


def _make_run_epoch(
    model: Model,
    optimizer: "keras.optimizers.Optimizer",
    training: arrays.Arrays,
    *,
    batch_size: int | None,
    seed: int,
    resident: bool,
) -> RunEpoch:
    rows = len(training[0])
    step = make_step(model, optimizer, batch_size or rows)
    whole = model.exact and features.are_bytes(training[0])

    def prepare(x: tf.Tensor) -> tf.Tensor:
        return features.fixed(x, whole=whole) if model.exact else scaled(x)

    if resident or batch_size is None:
        in_memory = resident and model.exact
        x = features.resident(training[0], whole=whole) if in_memory else tensor(training[0])
        y = tf.constant(training[1].astype(np.int32))
    if batch_size is None:  # in the order of the file, which the system reads ahead
        count = tf.constant(rows)  # not in the graph: Grappler would make a product of a division

        def full_batch() -> Sums:
            def fetch(start: Any, stop: Any) -> arrays.Arrays:
                return prepare(x[start:stop]), y[start:stop]

            return bounded(step(fetch, count))

        whole_epoch = graph(full_batch)
        return lambda epoch: whole_epoch()

    def steps(x: tf.Tensor, y: tf.Tensor, order: tf.Tensor) -> Sums:
        def of_batch(first: tf.Tensor) -> Sums:
            chosen = order[first : first + batch_size]

            def fetch(start: Any, stop: Any) -> arrays.Arrays:
                part = chosen[start:stop]
                return prepare(tf.gather(x, part)), tf.gather(y, part)

            return step(fetch, tf.size(chosen))

        return bounded(sum_blocks(of_batch, tf.size(order), batch_size, zero_sums(model)))

    if resident:
        whole_epoch = graph(steps, x, y, tf.TensorSpec([rows], tf.int64))
        return lambda epoch: whole_epoch(x, y, tf.constant(arrays.order(rows, seed, epoch)))

    labels, positions = (tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.int64))
    signature = any_rows(training[0]), labels, positions
    piece_of_epoch = graph(steps, *signature)

    def streamed_epoch(epoch: int) -> Sums:
        def pieces() -> Iterator[Any]:
            return arrays.streamed(*training, batch_size, seed, epoch)

        sums = zero_sums(model)
        for piece in apart(
            partial(tf.data.Dataset.from_generator, pieces, output_signature=signature)
        ):
            sums = add(sums, piece_of_epoch(*piece))
        return sums

    return streamed_epoch
