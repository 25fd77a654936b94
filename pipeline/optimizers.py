"""The optimizers: `OPTIMIZERS` maps the name in a file of conf/optimizer/ to its function.

Each, here or in own/optimizers/, makes a Keras optimizer. Its keyword-only arguments are the
options of its YAML file.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.errors import UserError
from pipeline.registry import Registry
from pipeline.schedules import learning_rates

if TYPE_CHECKING:
    import keras

Fraction = Annotated[float, Field(ge=0, lt=1)]
# 1e-15 is about the root of the smallest mean square that Adam keeps: a smaller epsilon would make
# steps too large.
Epsilon = Annotated[float, Field(ge=1e-15, allow_inf_nan=False)]


def sgd(
    learning_rate: float, *, momentum: Fraction = 0.0, nesterov: bool = False
) -> "keras.optimizers.Optimizer":
    """Return stochastic gradient descent, with momentum if it is not zero."""
    from pipeline.exact.optimizers import SGD

    return SGD(learning_rate, momentum=momentum, nesterov=nesterov)


def adam(
    learning_rate: float,
    *,
    beta_1: Fraction = 0.9,
    beta_2: Fraction = 0.999,
    epsilon: Epsilon = 1e-7,
) -> "keras.optimizers.Optimizer":
    """Return Adam (Kingma and Ba, 2015)."""
    from pipeline.exact.optimizers import Adam

    return Adam(learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)


OPTIMIZERS: Registry[Callable[..., Any]] = Registry("optimizers", {"sgd": sgd, "adam": adam})

# Those whose steps consist of the operations of pipeline/exact, and whose step of a weight depends
# on the gradients of that weight alone: the bits are the same on every machine, and side by side.
EXACT = {sgd, adam}


def make(
    name: str,
    learning_rate: float,
    schedule: str,
    steps: int,
    options: dict[str, Any],
    *,
    exact: bool,
) -> "keras.optimizers.Optimizer":
    """Return an optimizer of the table, for a training of so many steps.

    Raises
    ------
    UserError
        If it should compute exactly and does not, cannot follow the schedule, or needs what the
        `fit` of Keras does besides the steps.
    """
    import keras
    import tensorflow as tf

    from pipeline.exact.optimizers import is_plain

    optimizer = OPTIMIZERS[name](learning_rate, **options)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise UserError(f"optimizer: {name!r} must return a Keras optimizer, not {optimizer!r:.80}")
    if float(optimizer.scale_loss(1.0)) != 1:
        raise UserError(f"optimizer: {name!r} is for a loss that is scaled: leave the scale out")
    if optimizer.use_ema and not optimizer.ema_overwrite_frequency:
        raise UserError(
            f"optimizer: {name!r} averages the weights, but does not use the average: give it an "
            "ema_overwrite_frequency"
        )
    if exact and not is_plain(optimizer):
        raise UserError(
            f"optimizer: {name!r} is in EXACT of pipeline/optimizers.py, but is not the SGD or "
            "Adam of pipeline/exact, or has a schedule, clipping or averaging: take it out of EXACT"
        )
    if schedule != "constant":
        if optimizer.get_config()["learning_rate"] != np.float32(learning_rate):
            raise UserError(
                f"train.schedule: {schedule!r} is not for the optimizer {name!r}, which has "
                "learning rates of its own: take train.schedule=constant, or another optimizer"
            )
        rates = tf.constant(learning_rates(schedule, learning_rate, steps))
        optimizer.learning_rate = lambda: tf.gather(rates, optimizer.iterations.value)
    return optimizer
