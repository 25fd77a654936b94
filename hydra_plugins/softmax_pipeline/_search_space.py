"""What an Optuna study may choose from: the values that Hydra's overrides give a key."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser import types
from hydra.errors import HydraException

from pipeline.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def values(override: types.Override) -> "BaseDistribution":
    """Return the distribution that Optuna draws the value of an override from.

    Raises
    ------
    UserError
        If a range is empty, or has another tag than `log`.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: Any = override.value()
    low: Any
    high: Any
    step: Any
    try:
        if getattr(space, "tags", set()) - {"log"}:
            raise ValueError("the only tag is log, as in tag(log, interval(0.01, 1))")
        if isinstance(space, types.IntervalSweep):  # of floats, unless int(interval(...)) casts
            low, high, step = space.start, space.end, None
        elif isinstance(space, types.RangeSweep):
            numbers = space.range()
            ends = numbers if isinstance(numbers, range) else list(numbers)
            low, high, step = *sorted((ends[0], ends[-1])), abs(space.step)
        else:
            return CategoricalDistribution(list(override.sweep_string_iterator()))
        if isinstance(low, int):
            return IntDistribution(low, high, "log" in space.tags, step or 1)
        return FloatDistribution(low, high, "log" in space.tags, step)
    except IndexError:
        raise UserError(f"{override.input_line}: the range is empty") from None
    except (ValueError, HydraException) as error:
        raise UserError(f"{override.input_line}: {error}") from error


def samples(given: dict[str, str], space: "dict[str, BaseDistribution]") -> Iterator[list[str]]:
    """Yield overrides of trials that the study could ask for, with each choice and each end."""
    some = {key: _some(values) for key, values in space.items()}
    for number in range(max(map(len, some.values()))):
        chosen = {key: f"{key}={text(each[number % len(each)])}" for key, each in some.items()}
        yield [*(given | chosen).values()]


def _some(space: Any) -> list[Any]:
    if hasattr(space, "choices"):
        return list(space.choices)
    return [space.low, type(space.low)((space.low + space.high) / 2), space.high]


def text(value: Any) -> str:
    """Return a value as an override has it; a float has 15 digits, as sums of steps are inexact."""
    return repr(float(f"{value:.15g}")) if isinstance(value, float) else str(value)
