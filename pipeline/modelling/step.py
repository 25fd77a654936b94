"""One step of gradient descent on the mean loss of a batch, and on the model's penalty.

A batch is computed in blocks of rows, which TensorFlow runs side by side. Their gradients are added
in the order of the blocks, so the bits do not depend on the number of threads. What is random in a
block follows from the seed, the number of the step and the place of the block.
"""

from collections.abc import Callable, Sequence
from copy import copy
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipeline.errors import UserError
from pipeline.exact.linear import ROWS
from pipeline.modelling.logits import logits_of, score
from pipeline.modelling.model import Model
from pipeline.modelling.sums import Sums, add, sum_blocks, sums_of, zero_sums

if TYPE_CHECKING:
    import keras

LEAST = 64  # rows of a block: fewer would not pay for its operations

Examples = tuple[tf.Tensor, tf.Tensor]  # x and y
Fetch = Callable[[Any, Any], Examples]  # rows from start to stop of a batch
Step = Callable[[Fetch, Any], Sums]


def block_rows(batch_size: int) -> int:
    """Return how many rows of a batch are computed at a time: half of it, from LEAST to ROWS."""
    return min(max(-(-batch_size // 2), LEAST), ROWS)


def gradients(
    model: Model, parts: Sequence[Examples], seeds: Sequence[tf.Tensor | None] = ()
) -> tuple[tf.Tensor, ...]:
    """Return the `Sums` of some blocks of examples, and the sum of their gradients by each weight.

    The weights are read once, so that TensorFlow computes once what depends on them alone.

    Parameters
    ----------
    model : Model
    parts : sequence of (x, y)
        The blocks.
    seeds : sequence of tensors
        One for each block, if the model takes a seed.

    Raises
    ------
    UserError
        If the logits depend on none of the weights.
    """
    variables, once = list(model.weights.values()), copy(model)
    with tf.GradientTape(persistent=True) as tape:
        once.weights = {name: tf.convert_to_tensor(one) for name, one in model.weights.items()}
        all_logits = [
            logits_of(once, x, training=True, seed=seed)
            for (x, _), seed in zip_longest(parts, seeds)
        ]
    found: tuple[tf.Tensor, ...] = ()
    for logits, (_, y) in zip(all_logits, parts, strict=True):
        losses, correct, slope = score(logits, y, model.own_loss)
        by_weight = tape.gradient(logits, variables, slope)
        if all(one is None for one in by_weight):
            raise UserError(
                f"{type(model).__name__} computes its logits from none of the arrays in "
                "`self.weights` that can be trained, so nothing is learned"
            )
        terms = *sums_of(losses, correct), *_dense(by_weight, variables)
        found = add(found, terms) if found else terms
    return found


def block_seed(seed: int, step: Any, start: Any) -> tf.Tensor:
    """Return the seed, int64 (2,), of the block that begins at row `start` of a step's batch."""
    folded = tf.constant([seed, 0], tf.int64)
    for number in (step, start):
        folded = tf.random.fold_in(folded, tf.cast(number, tf.int64))
    return folded


def make_step(
    model: Model, optimizer: "keras.optimizers.Optimizer", batch_size: int, seed: int = 0
) -> Step:
    """Return the function that updates the model by one batch of up to `batch_size` rows.

    It takes a function that fetches rows of the batch, and the number of these rows. It returns the
    `Sums` of the batch, from before the update.
    """
    variables = list(model.weights.values())
    optimizer.build(variables)
    block = batch_size if model.state else block_rows(batch_size)
    random = model.takes("seed")

    def step(fetch: Fetch, rows: tf.Tensor) -> Sums:
        number = tf.convert_to_tensor(optimizer.iterations.value) if random else None

        def of_blocks(*starts: Any) -> tuple[tf.Tensor, ...]:
            parts = [fetch(start, start + block) for start in starts]
            seeds = [block_seed(seed, number, start) for start in starts] if random else []
            return gradients(model, parts, seeds)

        if batch_size <= block or (model.exact and batch_size <= 2 * block):
            # without a loop in the graph, which costs time; the second block may be empty, which
            # only exact models are sure to take
            sums = of_blocks(*range(0, batch_size, block))
        else:
            zeros = (tf.zeros_like(variable) for variable in variables)
            sums = sum_blocks(of_blocks, rows, block, (*zero_sums(model), *zeros))
        loss, correct, *total = sums
        mean = [gradient / tf.cast(rows, tf.float32) for gradient in total]
        if penalties := _penalties(model, variables):
            mean = list(add(mean, penalties))
        optimizer.apply_gradients(zip(mean, variables, strict=True))
        return loss, correct

    return step


def _penalties(model: Model, variables: list[tf.Variable]) -> list[tf.Tensor]:
    """Return the gradients of the model's penalty, an empty list if it has none."""
    with tf.GradientTape() as tape:
        penalty = model.penalty()
    if penalty is None:
        return []
    if penalty.shape != []:
        raise UserError(f"the model's penalty has the shape {penalty.shape}: it must be one number")
    return _dense(tape.gradient(penalty, variables), variables)


def _dense(gradients: Sequence[Any], variables: list[tf.Variable]) -> list[tf.Tensor]:
    """Return the gradients as dense tensors, zeros for a variable on which nothing depends."""
    pairs = zip(gradients, variables, strict=True)
    return [
        tf.zeros_like(one) if found is None else tf.convert_to_tensor(found) for found, one in pairs
    ]
