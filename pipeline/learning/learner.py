"""A training, from its first epoch, or from its checkpoint, to its last epoch."""

import math
from collections.abc import Callable, Iterator, Sequence

from pipeline import optimizers
from pipeline.data.arrays import Split
from pipeline.errors import UserError
from pipeline.learning import determinism, history, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.learning.promise import trains_exactly
from pipeline.settings.inputs import import_all
from pipeline.settings.schema import Config

Listener = Callable[[Epoch], None]


class Learner:
    """A model, its optimizer, the history so far, and the checkpoint that keeps them.

    If the checkpoint holds epochs of this training, it goes on from there.

    Attributes
    ----------
    config : Config
    split : Split
        The examples to train on, and those held out.
    checkpoint : Checkpoint
    model : Model
    optimizer : keras.optimizers.Optimizer
    epochs : list of Epoch
        The history so far.

    Raises
    ------
    UserError
        If this process has imported TensorFlow with another `determinism`, or a model or optimizer
        refuses its options.
    """

    def __init__(self, config: Config, split: Split, checkpoint: Checkpoint):
        exact = trains_exactly(config.determinism, config.model.name, config.optimizer.name)
        determinism.enable(config.seed, config.determinism, exact=exact)
        import_all("train")
        self.config, self.split, self.checkpoint = config, split, checkpoint
        self.model = weights.build(config, split.shape)
        train, chosen, rows = config.train, config.optimizer, len(split.training[0])
        steps = train.epochs * -(-rows // (train.batch_size or rows))
        self.optimizer = optimizers.make(
            chosen.name, train.learning_rate, train.schedule, steps, chosen.options, exact=exact
        )
        self.epochs = checkpoint.restore(self.model, self.optimizer)
        patient = config.train.patience is not None
        self._best = self._best_of(self.epochs) if patient and self.epochs else None

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights are kept: the best one with `train.patience`, else the last."""
        return self._best or self.epochs[-1]

    @property
    def ended(self) -> bool:
        """Whether all epochs are trained, or `train.patience` of them since the best one."""
        trained, patience = len(self.epochs), self.config.train.patience
        waited = trained - self._best.epoch if self._best else 0
        return trained == self.config.train.epochs or waited >= (patience or math.inf)

    def fit(
        self,
        listeners: Sequence[Listener],
        train: "Callable[[Learner], Iterator[Epoch]] | None" = None,
    ) -> None:
        """Train the epochs that are left; after each, write the checkpoint and call the listeners.

        With `train.patience`, the model has the weights of the best epoch in the end.

        Parameters
        ----------
        listeners : sequence of callables
            Each is called with every `Epoch` that is trained here.
        train : callable, optional
            Trains this learner and yields its epochs, in place of `remaining_epochs`.

        Raises
        ------
        UserError
            If a metric is no longer finite.
        """
        for epoch in (train or remaining_epochs)(self):
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
            saved, best = self.model.saved.values(), self.checkpoint.best
            for variable, array in zip(saved, best, strict=True):
                variable.assign(array)

    def save(self) -> None:
        """Write weights.npz and history.csv."""
        weights.save(self.model, self.config.paths.models / "weights.npz")
        history.write(self.config.paths.metrics / "history.csv", self.epochs)

    def _best_of(self, epochs: Sequence[Epoch]) -> Epoch:
        objective, direction = self.config.sweep.objective, self.config.sweep.direction
        return history.best(epochs, objective, direction)

    def _note(self, epoch: Epoch) -> None:
        """Note the weights if they are the best so far."""
        self._best = self._best_of([self._best or epoch, epoch])
        if self._best is epoch:
            self.checkpoint.best = [variable.numpy() for variable in self.model.saved.values()]

    def _refuse_divergence(self, epoch: Epoch) -> None:
        for name, value in epoch.metrics.items():
            if not math.isfinite(value):
                self.checkpoint.remove()
                raise UserError(
                    f"{name} is {value:g} in epoch {epoch.epoch}: training has diverged; "
                    f"lower train.learning_rate ({self.config.train.learning_rate:g})"
                )


def remaining_epochs(learner: Learner) -> Iterator[Epoch]:
    """Train the epochs that are left, by themselves; yield each as it ends."""
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
