"""Training on arrays from a notebook or a script, with the bits that the commands have.

`pipeline.load` gives the configuration. Nothing is written or recorded.
"""

import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import evaluate as stage
from pipeline.data import arrays, given
from pipeline.errors import UserError
from pipeline.learning import determinism, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.learning.history import Epoch
from pipeline.learning.learner import Learner, Listener
from pipeline.learning.promise import trains_exactly
from pipeline.settings.dataset import MOST_CLASSES
from pipeline.settings.params import CONF
from pipeline.settings.schema import Config

if TYPE_CHECKING:
    from pipeline.models import Model


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes
    ----------
    config : Config
        With the classes that it was trained on.
    model : Model
        Its `weights` are TensorFlow's variables, by name.
    shape : tuple of int
        Of an example.
    history : list of Epoch
    """

    config: Config
    model: "Model"
    shape: tuple[int, ...]
    history: list[Epoch]

    def save(self, path: str | Path) -> None:
        """Write the weights as the train stage does: the same bytes for the same values."""
        weights.save(self.model, Path(path))


def train(
    config: Config, x: Any, y: Any, *listeners: Listener, classes: int | None = None
) -> Trained:
    """Train a model; the last `train.validation_size` examples are held out.

    It may be called several times. TensorFlow must not be imported before the first call.

    Parameters
    ----------
    config : Config
        As `pipeline.load` returns it; its data set has no effect.
    x : array (n, features) or (n, *shape)
        Bytes, as uint8, are divided by 255; other numbers are taken as they are, as float32.
    y : array of int (n,)
        The classes, from 0.
    *listeners : callable
        Each is called with an `Epoch` after every epoch: `print` is one.
    classes : int, optional
        How many classes there are. Without it, one more than the largest label.

    Returns
    -------
    Trained

    Raises
    ------
    UserError
        If an array has another type or shape, the training diverges, or TensorFlow was imported
        before the first call or with another `determinism`.
    """
    x, shape = given.examples(x)
    y = given.labels(y, len(x))
    least = max(int(y.max()) + 1, 2)
    count = least if classes is None else classes
    if not least <= count <= MOST_CLASSES:
        raise UserError(
            f"classes: should be {least} to {MOST_CLASSES}, as the largest label is {y.max()}, "
            f"not {count}"
        )
    dataset = config.dataset.model_copy(update={"classes": [str(k) for k in range(count)]})
    config = config.model_copy(update={"dataset": dataset, "resident_bytes": sys.maxsize})
    exact = trains_exactly(config.determinism, config.model.name, config.optimizer.name)
    given.check(x, exact=exact)
    split = arrays.divided(x, y, shape, config.train.validation_size)
    determinism.enable(config.seed, config.determinism, exact=exact, others=True)
    with chdir(CONF.parent):  # Learner reads the project's files
        learner = Learner(config, split, Unkept())
    learner.fit(listeners)
    return Trained(config, learner.model, shape, learner.epochs)


def evaluate(trained: Trained, x: Any, y: Any) -> dict[str, float]:
    """Return what evaluation.json holds: loss, accuracy with its interval, the chosen metrics.

    Parameters
    ----------
    trained : Trained
    x, y : array
        As for `train`.

    Raises
    ------
    UserError
        If an array has another type or shape than in training, or a label is of no class.
    """
    x, y = _of(trained, x), given.labels(y, len(x))
    if y.max() >= (count := len(trained.config.dataset.classes)):
        raise UserError(f"y: label {y.max()} is not one of the {count} classes of the training")
    predicted, _, losses, probabilities = stage.predictions_of(trained.model, x, y)
    measured = stage.measure(trained.config, y, probabilities)
    return stage.summary(losses, predicted == y, measured)


def predict(trained: Trained, x: Any) -> NDArray[np.float32]:
    """Return the probabilities of the classes, float32 (n, classes).

    Parameters
    ----------
    trained : Trained
    x : array
        As for `train`.

    Raises
    ------
    UserError
        If x has another type or shape than in training.
    """
    from pipeline.learning.inference import probabilities

    return probabilities(trained.model, _of(trained, x))


class Unkept(Checkpoint):
    """The checkpoint of a training that leaves none: it reads and writes nothing."""

    def __init__(self) -> None:
        self.reached, self.best = 0, []

    def restore(self, *_: Any) -> list[Epoch]:
        """Return no epochs."""
        return []

    def keep(self, *_: Any, **__: Any) -> None:
        """Keep nothing."""

    def remove(self) -> None:
        """Remove nothing."""


def _of(trained: Trained, x: Any) -> arrays.Features:
    x, shape = given.examples(x)
    if x.shape[1] != np.prod(trained.shape):
        raise UserError(
            f"x: the model was trained on examples of the shape {trained.shape}, not {shape}"
        )
    given.check(x, exact=trained.model.exact)
    return x
