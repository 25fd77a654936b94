"""Schedules of the learning rate: `SCHEDULES` maps the name in `train.schedule` to its function.

Each, here or in own/schedules/, gives the factor by which `train.learning_rate` is multiplied in a
step, from the progress of the training: 0 in its first step, and just below 1 in its last.
"""

from collections.abc import Callable
from fractions import Fraction
from math import factorial
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.registry import Registry

Schedule = Callable[[float], float]
MOST_STEPS = 2**24  # of a training with a schedule: their rates take 64 MiB of memory
LEAST = 2.0**-126  # the smallest normal float32: a smaller learning rate becomes 0
PI = Fraction("3.14159265358979323846264338327950288419716939937510")
UNIT = 2**120  # integers stand for themselves / UNIT
# Coefficients of (1 - cos(pi q)) / 2 as a polynomial in the square of q.
RISE = [
    round((-1) ** (k + 1) * PI ** (2 * k) / (2 * factorial(2 * k)) * UNIT) for k in range(1, 17)
]


def constant(progress: float) -> float:
    """Return 1."""
    return 1.0


def step(progress: float) -> float:
    """Return 1, a tenth after half of the training, and a hundredth after three quarters.

    As the networks of He et al. (2016) were trained on CIFAR-10.
    """
    if progress < 0.5:
        return 1.0
    return 0.1 if progress < 0.75 else 0.01


def cosine(progress: float) -> float:
    """Return (1 + cos(pi progress)) / 2 (Loshchilov and Hutter, 2017), without restarts.

    It is computed in integers and rounded once, which gives the same bits on every machine. A
    library's cosine does not.
    """
    near = int(min(progress, 1 - progress) * UNIT)  # the distance from the nearer end
    square, fallen = near * near // UNIT, 0
    for coefficient in (*reversed(RISE), 0):
        fallen = fallen * square // UNIT + coefficient
    return (UNIT - fallen if progress < 0.5 else fallen) / UNIT


def linear(progress: float) -> float:
    """Return 1 - progress."""
    return 1 - progress


SCHEDULES: Registry[Schedule] = Registry(
    "schedules", {"constant": constant, "step": step, "cosine": cosine, "linear": linear}
)

# Those that consist of correctly rounded operations: the same bits on every machine.
EXACT = {constant, step, cosine, linear}


def is_exact(name: str) -> bool:
    """Tell whether the learning rates of a schedule have the same bits on every machine."""
    return SCHEDULES[name] in EXACT


def learning_rate(name: str, rate: float, step: int, steps: int) -> float:
    """Return the learning rate, float64, of a step; the steps of a training are counted from 0.

    Parameters
    ----------
    name : str
        The schedule.
    rate : float
        `train.learning_rate`.
    step, steps : int
        The number of the step, and how many there are.

    Raises
    ------
    UserError
        If the factor of the schedule is negative, infinite or not a number.
    """
    factor = SCHEDULES[name](step / steps)
    if not (isinstance(factor, Real) and 0 <= factor < float("inf")):
        raise UserError(
            f"train.schedule: {name!r} gives the factor {factor!r} for the progress "
            f"{step / steps:g}: it must be a finite number that is not negative"
        )
    product = rate * factor
    return product if product >= LEAST else 0.0


def learning_rates(name: str, rate: float, steps: int) -> NDArray[np.float32]:
    """Return the learning rate of each step of a training, float32 (steps,).

    Raises
    ------
    UserError
        If there are more than MOST_STEPS, and as `learning_rate` does.
    """
    if steps > MOST_STEPS:
        raise UserError(
            f"train.schedule: {name!r} is for up to {MOST_STEPS:,} steps, and this training has "
            f"{steps:,}: use larger batches, fewer epochs or train.schedule=constant"
        )
    rates = (learning_rate(name, rate, step, steps) for step in range(steps))
    return np.fromiter(rates, np.float64, steps).astype(np.float32)
