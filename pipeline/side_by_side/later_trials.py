"""The trials that this process will run one after the other, as far as their overrides tell."""

import math
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.settings.schema import Config

RATE = "train.learning_rate="
_trials: list[list[str]] = []


def plan(trials: Sequence[Sequence[str]]) -> None:
    """Note the overrides of all trials, in their order."""
    _trials[:] = map(list, trials)


def with_other_rates(config: Config, number: int) -> list[Config]:
    """Return the configurations of the trials after this one that differ in the learning rate."""
    own = _without_rate(_trials[number]) if number < len(_trials) else None
    found: dict[float, Config] = {}
    for overrides in _trials[number + 1 :]:
        rate = _rate(overrides)
        if _without_rate(overrides) == own and rate and rate != config.train.learning_rate:
            train = config.train.model_copy(update={"learning_rate": rate})
            found[rate] = config.model_copy(update={"train": train})
    return list(found.values())


def _without_rate(overrides: list[str]) -> list[str]:
    return [item for item in overrides if not item.startswith(RATE)]


def _rate(overrides: list[str]) -> float | None:
    """Return the learning rate that is set, unless it is a wrong one."""
    for item in overrides:
        if item.startswith(RATE):
            value = OverridesParser.create().parse_override(item).value()
            if isinstance(value, int | float) and 0 < value < math.inf:
                return float(value)
    return None
