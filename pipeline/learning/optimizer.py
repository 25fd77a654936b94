"""The optimizer of a training, with a learning rate for each step if there is a schedule."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline import schedules
from pipeline.errors import UserError
from pipeline.learning.promise import trains_exactly
from pipeline.optimizers import OPTIMIZERS
from pipeline.settings.schema import Config

if TYPE_CHECKING:
    import keras


def make_optimizer(config: Config, rows: int) -> "keras.optimizers.Optimizer":
    """Return the configured optimizer for a training set of so many rows.

    One that claims to be exact and is not, or cannot follow the schedule, is refused.
    """
    import tensorflow as tf

    from pipeline.exact.optimizers import is_plain

    name, train = config.optimizer.name, config.train
    optimizer = OPTIMIZERS[name](train.learning_rate, **config.optimizer.options)
    if trains_exactly(config.determinism, config.model.name, name) and not is_plain(optimizer):
        raise UserError(
            f"optimizer: {name!r} is in EXACT of pipeline/optimizers.py, but is not the SGD or "
            "Adam of pipeline/exact, or has a schedule, clipping or averaging: take it out of EXACT"
        )
    if train.schedule != "constant":
        if optimizer.get_config()["learning_rate"] != np.float32(train.learning_rate):
            raise UserError(
                f"train.schedule: {train.schedule!r} is not for the optimizer {name!r}, which has "
                "learning rates of its own: take train.schedule=constant, or another optimizer"
            )
        steps = train.epochs * -(-rows // (train.batch_size or rows))
        rates = tf.constant(schedules.learning_rates(train.schedule, train.learning_rate, steps))
        optimizer.learning_rate = lambda: tf.gather(rates, optimizer.iterations.value)
    return optimizer
