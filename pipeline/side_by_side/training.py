"""Trainings that differ in their learning rate alone, run at once."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.learning.learner import Learner, remaining_epochs
from pipeline.learning.promise import trains_exactly
from pipeline.models import LogisticRegression
from pipeline.optimizers import OPTIMIZERS
from pipeline.settings.schema import Config, Train

log = logging.getLogger(__name__)
MOST = 32  # trainings at once
RATE = "train.learning_rate="
KEEP_SECONDS = 1.0  # between checkpoints, which all trainings write after the same epoch


def with_other_rates(config: Config, trials: Sequence[Sequence[str]], number: int) -> list[Config]:
    """Return the configurations of the later trials that differ in the learning rate alone.

    Parameters
    ----------
    config : Config
        That of the trial that is trained now.
    trials : sequence of sequences of str
        The overrides of all trials, in their order.
    number : int
        The place of the trial that is trained now.
    """
    found: dict[float, Config] = {}
    for overrides in trials[number + 1 :]:
        train = _with_rate(config.train, overrides)
        same = _without_rate(overrides) == _without_rate(trials[number])
        if same and train and train != config.train:
            found[train.learning_rate] = config.model_copy(update={"train": train})
    return list(found.values())


def _without_rate(overrides: Sequence[str]) -> list[str]:
    return [item for item in overrides if not item.startswith(RATE)]


def _with_rate(train: Train, overrides: Sequence[str]) -> Train | None:
    """Return the settings with the learning rate of the overrides, None if that is not valid."""
    for item in overrides:
        if item.startswith(RATE):
            with suppress(ValueError):
                rate = float(item.removeprefix(RATE))
                return Train.model_validate(train.model_dump() | {"learning_rate": rate})
    return None


def train_with(others: Sequence[Config]) -> Callable[[Learner], Iterator[Epoch]]:
    """Return a function that trains a learner and, as far as possible, the others side by side.

    Parameters
    ----------
    others : sequence of Config
        Trainings that this process will run later, which differ in the learning rate alone.
    """

    def epochs(learner: Learner) -> Iterator[Epoch]:
        learners = trainable_together(learner, others) if others else [learner]
        return train(learners) if len(learners) > 1 else remaining_epochs(learner)

    return epochs


def trainable_together(first: Learner, others: Sequence[Config]) -> list[Learner]:
    """Return the learners, `first` included, that can be trained side by side from its epoch on."""
    config, (x, _) = first.config, first.split.training
    if (
        not trains_exactly(config.determinism, config.model.name, config.optimizer.name)
        or x.nbytes > config.resident_bytes
        or type(first.model) is not LogisticRegression
        or config.train.schedule != "constant"
        or config.train.patience is not None
        or first.ended
    ):
        return [first]
    found = [Checkpoint(other, first.checkpoint.place) for other in others[: MOST - 1]]
    level = [one for one in found if one.reached == len(first.epochs)]
    return [first, *(Learner(one.config, first.split, one) for one in level)]


def train(learners: Sequence[Learner]) -> Iterator[Epoch]:
    """Train all learners; yield the epochs of the first, and keep the others in their checkpoints.

    A learner that diverges is dropped, and is trained alone later. After an interruption, the
    checkpoints are at most a second or an epoch old.
    """
    from pipeline.learning import training
    from pipeline.side_by_side.model import SideBySide

    first, *others = learners
    config, classes = first.config, len(first.config.dataset.classes)
    models: Any = [learner.model for learner in learners]
    rates = [learner.config.train.learning_rate for learner in learners]
    wide = SideBySide(models)
    columns = np.repeat(np.array(rates, np.float32), classes)
    optimizer = OPTIMIZERS[config.optimizer.name](lambda: columns, **config.optimizer.options)
    optimizer.build(list(wide.weights.values()))
    trained = [*wide.weights.values(), *optimizer.variables]
    _join(trained, learners)
    log.info("trained together: learning rates %s", ", ".join(f"{rate:g}" for rate in rates))
    first.checkpoint.least_pause = KEEP_SECONDS
    started = time.monotonic()
    for wide_epoch in training.train(
        wide,
        optimizer,
        first.split.training,
        first.split.validation,
        epochs=config.train.epochs,
        start=len(first.epochs) + 1,
        batch_size=config.train.batch_size,
        seed=config.seed,
    ):
        mine, *theirs = _epoch_of_each(wide_epoch)
        _take_over(first, trained, slice(classes))
        sound = [number for number, learner in enumerate(others) if _is_sound(learner)]
        for number in sound:
            others[number].epochs.append(theirs[number])
        yield mine
        share = (time.monotonic() - started) / len(learners)
        if mine.epoch in (first.checkpoint.reached, config.train.epochs):
            for number in (number for number in sound if _is_sound(others[number])):
                start = (number + 1) * classes
                _take_over(others[number], trained, slice(start, start + classes))
                others[number].checkpoint.seconds = share
                others[number].checkpoint.keep(others[number].epochs, always=True)
        first.checkpoint.seconds = -share * len(others)


def _epoch_of_each(wide: Epoch) -> list[Epoch]:
    """Return the row of the history of each model, from one whose metrics are lists."""
    columns: Any = wide.metrics.values()
    return [Epoch(wide.epoch, *row) for row in zip(*columns, strict=True)]


def _is_sound(learner: Learner) -> bool:
    """Tell whether its metrics are finite so far."""
    return not learner.epochs or all(map(math.isfinite, learner.epochs[-1].metrics.values()))


def _variables(learner: Learner) -> list[Any]:
    """Return the variables that training changes, but for the learning rate."""
    rate = learner.optimizer.learning_rate
    state = [variable for variable in learner.optimizer.variables if variable is not rate]
    return [*learner.model.weights.values(), *state]


def _take_over(learner: Learner, values: Sequence[Any], columns: slice) -> None:
    """Give a learner its columns of what was trained side by side."""
    for value, variable in zip(values, _variables(learner), strict=True):
        array = value.numpy()
        variable.assign(array[..., columns] if array.ndim else array)


def _join(variables: Sequence[Any], learners: Sequence[Learner]) -> None:
    """Fill the variables of the wide model with those of the learners, side by side."""
    of_all = zip(*map(_variables, learners), strict=True)
    for variable, parts in zip(variables, of_all, strict=True):
        arrays = [part.numpy() for part in parts]
        variable.assign(np.concatenate(arrays, -1) if arrays[0].ndim else arrays[0])
