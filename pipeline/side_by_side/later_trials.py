"""The trials that this process will run one after the other, as far as their overrides tell."""

from collections.abc import Sequence
from contextlib import suppress

from hydra.core.override_parser.overrides_parser import OverridesParser
from pydantic import ValidationError

from pipeline.settings.schema import Config, Train

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
        train = _with_rate(config.train, overrides)
        if train and train != config.train and _without_rate(overrides) == own:
            found[train.learning_rate] = config.model_copy(update={"train": train})
    return list(found.values())


def _without_rate(overrides: list[str]) -> list[str]:
    return [item for item in overrides if not item.startswith(RATE)]


def _with_rate(train: Train, overrides: list[str]) -> Train | None:
    """Return the settings with the learning rate that is set, unless it is a wrong one."""
    for item in overrides:
        if item.startswith(RATE):
            rate = OverridesParser.create().parse_override(item).value()
            with suppress(ValidationError):
                return Train.model_validate(train.model_dump() | {"learning_rate": rate})
    return None
