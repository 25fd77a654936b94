"""A training, from its first epoch or its checkpoint to its last."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipeline import schedules
from pipeline.data.arrays import Split
from pipeline.errors import UserError
from pipeline.learning import determinism, history, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.learning.promise import trains_exactly
from pipeline.optimizers import OPTIMIZERS
from pipeline.settings.inputs import import_all
from pipeline.settings.schema import Config

Listener = Callable[[Epoch], None]


class Learner:
    """A model, its optimizer, the history so far, and the checkpoint that keeps them.

    Parameters
    ----------
    config : Config
        Decides the model, the optimizer and how they are trained.
    split : Split
        The examples.
    checkpoint : Checkpoint
        What it holds of this training is taken up.

    Raises
    ------
    UserError
        If this process computes with another `determinism`, if the optimizer claims to be exact and
        is not, or if it cannot follow the schedule.
    """

    def __init__(self, config: Config, split: Split, checkpoint: Checkpoint):
        name = config.optimizer.name
        exact = trains_exactly(config.determinism, config.model.name, name)
        determinism.enable(config.seed, config.determinism, exact=exact)
        import_all("train")
        from pipeline.exact.optimizers import is_plain

        self.config, self.split, self.checkpoint = config, split, checkpoint
        self.model = weights.build(config, split.shape)
        self.optimizer = OPTIMIZERS[name](config.train.learning_rate, **config.optimizer.options)
        if exact and not is_plain(self.optimizer):
            raise UserError(
                f"optimizer: {name!r} is in EXACT of pipeline/optimizers.py, but is not the SGD or "
                "Adam of pipeline/exact, or has a schedule, clipping or averaging: take it out of "
                "EXACT"
            )
        if config.train.schedule != "constant":
            self._follow_schedule()
        self.epochs = checkpoint.restore(self.model, self.optimizer)
        sweep = config.sweep
        self._better = partial(history.best, objective=sweep.objective, direction=sweep.direction)
        patient = config.train.patience is not None
        self._best = self._better(self.epochs) if patient and self.epochs else None

    @property
    def kept(self) -> Epoch:
        """The epoch after which the weights are those that are kept: the last, or the best one."""
        return self._best or self.epochs[-1]

    @property
    def ended(self) -> bool:
        """Whether all epochs are trained, or too many since the best one."""
        trained, patience = len(self.epochs), self.config.train.patience
        waited = trained - self._best.epoch if self._best else 0
        return trained == self.config.train.epochs or waited >= (patience or math.inf)

    def fit(
        self,
        listeners: Sequence[Listener],
        train: "Callable[[Learner], Iterator[Epoch]] | None" = None,
    ) -> None:
        """Train the epochs that are left; keep each, and tell it to the listeners.

        With `train.patience`, the model has the weights of the best epoch in the end.

        `train` yields the epochs; without it, they are those of `training.train`.

        Raises
        ------
        UserError
            If a loss is no longer finite.
        """
        for epoch in (train or rest)(self):
            self._refuse_divergence(epoch)
            self.epochs.append(epoch)
            if self.config.train.patience is not None:
                self._note(epoch)
            self.checkpoint.keep(self.epochs)
            for listener in listeners:
                listener(epoch)
            if self._best and self.ended:
                break
        if self._best:
            for variable, array in zip(self._saved(), self.checkpoint.best, strict=True):
                variable.assign(array)

    def save(self) -> None:
        """Write weights.npz and history.csv."""
        weights.save(self.model, self.config.paths.models / "weights.npz")
        history.write(self.config.paths.metrics / "history.csv", self.epochs)

    def _follow_schedule(self) -> None:
        """Let each step have its own learning rate."""
        from pipeline.exact.optimizers import Rates

        train, rows = self.config.train, len(self.split.training[0])
        if self.optimizer.get_config()["learning_rate"] != np.float32(train.learning_rate):
            raise UserError(
                f"train.schedule: {train.schedule!r} is not for the optimizer "
                f"{self.config.optimizer.name!r}, which has learning rates of its own: take "
                "train.schedule=constant, or another optimizer"
            )
        steps = train.epochs * -(-rows // (train.batch_size or rows))
        rates = schedules.learning_rates(train.schedule, train.learning_rate, steps)
        self.optimizer.learning_rate = Rates(rates)

    def _note(self, epoch: Epoch) -> None:
        """Note the weights if they are the best so far."""
        self._best = self._better([self._best or epoch, epoch])
        if self._best is epoch:
            self.checkpoint.best = [variable.numpy() for variable in self._saved()]

    def _saved(self) -> list[Any]:
        return list(self.model.saved.values())

    def _refuse_divergence(self, epoch: Epoch) -> None:
        for name, value in epoch.metrics.items():
            if not math.isfinite(value):
                self.checkpoint.remove()
                raise UserError(
                    f"{name} is {value:g} in epoch {epoch.epoch}: training has diverged; "
                    f"lower train.learning_rate ({self.config.train.learning_rate:g})"
                )


def rest(learner: Learner) -> Iterator[Epoch]:
    """Yield the epochs that are left, as they are trained."""
    from pipeline.learning.training import train

    settings, split = learner.config.train, learner.split
    if not learner.ended:
        yield from train(
            learner.model,
            learner.optimizer,
            split.training,
            split.validation,
            epochs=settings.epochs,
            start=len(learner.epochs) + 1,
            batch_size=settings.batch_size,
            seed=learner.config.seed,
            resident=split.training[0].nbytes <= learner.config.resident_bytes,
        )
