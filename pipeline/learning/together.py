"""Trainings that differ in their learning rate alone, done at once.

k logistic regressions side by side are one with k times as many columns, which costs a fraction of
k. Each has the bits that it has alone, or it is trained alone: `same_bits` looks first.
"""

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Arrays
from pipeline.learning import same_bits, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.optimizers import OPTIMIZERS, SIDE_BY_SIDE
from pipeline.settings.schema import Config

if TYPE_CHECKING:
    import keras


log = logging.getLogger(__name__)
Split = tuple[Arrays, Arrays]
MOST = 32  # trainings at once
KEEP_SECONDS = 1.0  # between checkpoints, which are written for all after the same epoch


class Learner:
    """A model and what training it needs: optimizer, checkpoint, and the history so far."""

    def __init__(self, config: Config, features: int, saved: Checkpoint):
        self.config, self.saved = config, saved
        self.model = weights.build(config, features)
        self.optimizer = OPTIMIZERS[config.optimizer.name](
            config.train.learning_rate, **config.optimizer.options
        )
        self.epochs = saved.restore(self.model, self.optimizer)

    @property
    def variables(self) -> list[Any]:
        """What training changes."""
        rate = self.optimizer.learning_rate
        state = [variable for variable in self.optimizer.variables if variable is not rate]
        return [*self.model.weights.values(), *state]

    def put(self, values: Sequence[Any], columns: slice) -> None:
        """Take over the columns of what was trained side by side."""
        for value, variable in zip(values, self.variables, strict=True):
            array = value.numpy()
            variable.assign(array[..., columns] if array.ndim else array)

    @property
    def is_sound(self) -> bool:
        """Whether its loss is finite so far."""
        return not self.epochs or all(map(math.isfinite, self.epochs[-1].metrics.values()))


_moved: dict[Path, float] = {}  # by the checkpoint


def moved_seconds(saved: Checkpoint) -> float:
    """Return the seconds spent for a training in another's time, less what it spent for others."""
    return _moved.pop(saved.path, 0.0)


def company(first: Learner, others: Sequence[Config], split: Split) -> list[Learner]:
    """Return the first and those of the others, as far as it is, that can be trained with it."""
    from pipeline.learning import inference, training
    from pipeline.models import MODELS, LogisticRegression

    config, ((x, _), (x_val, _)) = first.config, split
    if (
        config.determinism != "portable"
        or x.nbytes > config.resident_bytes
        or MODELS[config.model.name] is not LogisticRegression
        or OPTIMIZERS[config.optimizer.name] not in SIDE_BY_SIDE
    ):
        return [first]
    found = [first.saved.of(other) for other in others[: MOST - 1]]
    level = [one for one in found if one.reached == len(first.epochs)]
    shape = x.shape[1], len(config.dataset.classes)
    options = json.dumps(config.model.options)
    sizes = training.block_sizes(len(x), config.train.batch_size), inference.block_sizes(len(x_val))
    if not level or not same_bits.side_by_side(shape, options, 1 + len(level), *sizes):
        return [first]
    return [first, *(Learner(one.config, x.shape[1], one) for one in level)]


def train(learners: Sequence[Learner], split: Split, **options: Any) -> Iterator[Epoch]:
    """Train all, yielding the first one's epochs; the others find theirs in their checkpoints.

    One that diverges is left to itself. If this is left before its end, the checkpoints are at
    most a second or an epoch old.
    """
    from pipeline.learning import training
    from pipeline.models import SideBySide

    first, *others = learners
    config, classes = first.config, len(first.config.dataset.classes)
    models: Any = [learner.model for learner in learners]
    rates = [learner.config.train.learning_rate for learner in learners]
    wide = SideBySide(models)
    optimizer = OPTIMIZERS[config.optimizer.name](
        learning_rates(rates, wide.sizes), **config.optimizer.options
    )
    optimizer.build(list(wide.weights.values()))
    trained = [*wide.weights.values(), *optimizer.variables]
    _join(trained, learners)
    log.info("trained together: learning rates %s", ", ".join(f"{rate:g}" for rate in rates))
    first.saved.least_pause = KEEP_SECONDS
    started = time.monotonic()
    for epochs in training.train_heads(wide, optimizer, *split, **options):
        first.put(trained, slice(classes))
        sound = [learner for learner in others if learner.is_sound]
        for learner in sound:
            learner.epochs.append(epochs[learners.index(learner)])
        yield epochs[0]
        if epochs[0].epoch in (first.saved.reached, config.train.epochs):
            for learner in (one for one in sound if one.is_sound):
                start = learners.index(learner) * classes
                learner.put(trained, slice(start, start + classes))
                learner.saved.keep(learner.epochs, always=True)
    seconds = (time.monotonic() - started) / len(learners)
    _moved.update({learner.saved.path: seconds for learner in others})
    _moved[first.saved.path] = -seconds * len(others)


def _join(variables: Sequence[Any], learners: Sequence[Learner]) -> None:
    """Put what each learner has side by side."""
    of_all = zip(*(learner.variables for learner in learners), strict=True)
    for variable, parts in zip(variables, of_all, strict=True):
        arrays = [part.numpy() for part in parts]
        if arrays[0].ndim:
            joined = np.zeros(variable.shape, np.float32)
            columns = np.concatenate(arrays, -1)
            joined[..., : columns.shape[-1]] = columns
            variable.assign(joined)
        else:
            variable.assign(arrays[0])


def learning_rates(
    rates: Sequence[float], sizes: Sequence[int]
) -> "keras.optimizers.schedules.LearningRateSchedule":
    """Return a learning rate for each column; of those that fill up it does not matter."""
    import keras

    columns = np.repeat(np.array([*rates, 1.0], np.float32), sizes)

    class Rates(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __call__(self, step: Any) -> NDArray[np.float32]:
            return columns

    return Rates()
