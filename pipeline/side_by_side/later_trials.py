"""Trials that a process will run after one, as far as their overrides tell."""

from collections.abc import Sequence
from contextlib import suppress

from pipeline.settings.schema import Config, Train

RATE = "train.learning_rate="


def with_other_rates(config: Config, trials: Sequence[Sequence[str]], number: int) -> list[Config]:
    """Return the configurations of those after the trial of a number that have another rate only.

    `trials` are the overrides of all, in their order, and `config` is that of the trial.
    """
    found: dict[float, Config] = {}
    for overrides in trials[number + 1 :]:
        train = _with_rate(config.train, overrides)
        others = _without_rate(overrides) == _without_rate(trials[number])
        if train and train != config.train and others:
            found[train.learning_rate] = config.model_copy(update={"train": train})
    return list(found.values())


def _without_rate(overrides: Sequence[str]) -> list[str]:
    return [item for item in overrides if not item.startswith(RATE)]


def _with_rate(train: Train, overrides: Sequence[str]) -> Train | None:
    """Return the settings with the learning rate that is set, unless it is a wrong one."""
    for item in overrides:
        if item.startswith(RATE):
            with suppress(ValueError):
                rate = float(item.removeprefix(RATE))
                return Train.model_validate(train.model_dump() | {"learning_rate": rate})
    return None
