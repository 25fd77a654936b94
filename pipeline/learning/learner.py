"""A training, from its first epoch or its checkpoint to its last."""

import math
from collections.abc import Callable, Iterator, Sequence

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
    shape : tuple of int
        Of an example.
    checkpoint : Checkpoint
        What it holds of this training is taken up.

    Raises
    ------
    UserError
        If this process computes with another `determinism`, or if the optimizer claims to be exact
        and is not.
    """

    def __init__(self, config: Config, shape: tuple[int, ...], checkpoint: Checkpoint):
        name = config.optimizer.name
        exact = trains_exactly(config.determinism, config.model.name, name)
        determinism.enable(config.seed, config.determinism, exact=exact)
        import_all("train")
        from pipeline.exact.optimizers import is_plain

        self.config, self.checkpoint = config, checkpoint
        self.model = weights.build(config, shape)
        self.optimizer = OPTIMIZERS[name](config.train.learning_rate, **config.optimizer.options)
        if exact and not is_plain(self.optimizer):
            raise UserError(
                f"optimizer: {name!r} is in EXACT of pipeline/optimizers.py, but is not the SGD or "
                "Adam of pipeline/exact, or has a schedule, clipping or averaging: take it out of "
                "EXACT"
            )
        self.epochs = checkpoint.restore(self.model, self.optimizer)

    def fit(
        self,
        split: Split,
        listeners: Sequence[Listener],
        train: "Callable[[Learner, Split], Iterator[Epoch]] | None" = None,
    ) -> None:
        """Train the epochs that are left; keep each, and tell it to the listeners.

        `train` yields the epochs; without it, they are those of `training.train`.

        Raises
        ------
        UserError
            If a loss is no longer finite.
        """
        for epoch in (train or rest)(self, split):
            self._refuse_divergence(epoch)
            self.epochs.append(epoch)
            self.checkpoint.keep(self.epochs)
            for listener in listeners:
                listener(epoch)

    def save(self) -> None:
        """Write weights.npz and history.csv."""
        weights.save(self.model, self.config.paths.models / "weights.npz")
        history.write(self.config.paths.metrics / "history.csv", self.epochs)

    def _refuse_divergence(self, epoch: Epoch) -> None:
        for name, value in epoch.metrics.items():
            if not math.isfinite(value):
                self.checkpoint.remove()
                raise UserError(
                    f"{name} is {value:g} in epoch {epoch.epoch}: training has diverged; "
                    f"lower train.learning_rate ({self.config.train.learning_rate:g})"
                )


def rest(learner: Learner, split: Split) -> Iterator[Epoch]:
    """Yield the epochs that are left, as they are trained."""
    from pipeline.learning.training import train

    settings = learner.config.train
    if len(learner.epochs) < settings.epochs:
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
