"""The spread of results over seeds.

Trials that differ in the seed alone have the same setting.
"""

import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.trials.trial_file import Trial

SEED = r"\+*seed=(\S+)"


class Spread(NamedTuple):
    """Mean, standard deviation and 95 % interval of the mean; one value has a mean alone."""

    mean: float
    deviation: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None


@dataclass
class Setting:
    """A setting and its trials."""

    name: str
    trials: list[Trial] = field(default_factory=list)

    @property
    def seeds(self) -> int:
        """How many seeds it was tried with."""
        return len({seed_of(one) for one in self.trials})

    def measured(self, metric: str) -> list[Trial]:
        """Return the finished trials that have the metric, one for each seed."""
        return list({seed_of(one): one for one in self.trials if one.has(metric)}.values())

    def values(self, metric: str) -> dict[str, float]:
        """Return the metric of these trials, by seed."""
        return {seed_of(one): one.metrics[metric] for one in self.measured(metric)}


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of one value or more, which are a sample of what all seeds would give.

    The interval is mean +- t s / sqrt(n), with Student's t for n - 1 degrees of freedom (Student,
    The Probable Error of a Mean, 1908).
    """
    from scipy import stats

    mean = statistics.fmean(values)
    if len(values) == 1:
        return Spread(mean)
    deviation = statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    return Spread(mean, deviation, mean - half, mean + half)


def by_setting(trials: Iterable[Trial]) -> list[Setting]:
    """Return the settings of trials, in the order of the trials' numbers.

    A trial whose configuration was refused is known by its overrides alone.
    """
    found: dict[str, Setting] = {}
    keys: dict[str, str] = {}  # of `found`, by the overrides without the seed
    for trial in sorted(trials, key=lambda one: (not one.settings, one.number)):
        overrides = without_seed(" ".join(trial.overrides))
        shared = {key: value for key, value in trial.settings.items() if key != "seed"}
        key = json.dumps([trial.choices, shared]) if shared else overrides
        key = keys.setdefault(overrides, key)
        found.setdefault(key, Setting(without_seed(trial.name))).trials.append(trial)
    return list(found.values())


def planned_seeds(trials: Iterable[Sequence[str]]) -> int:
    """Return how many different seeds the overrides of trials set."""
    return len({_seed(overrides) for overrides in trials} - {""})


def seed_of(trial: Trial) -> str:
    """Return the trial's seed as text; empty if its configuration was refused and sets none."""
    return str(trial.settings.get("seed", _seed(trial.overrides)))


def without_seed(name: str) -> str:
    """Return a trial's name or overrides without the seed."""
    return " ".join(re.sub(rf"(^| ){SEED}", "", name).split())


def _seed(overrides: Sequence[str]) -> str:
    found = re.search(rf"(?:^| ){SEED}", " ".join(overrides))
    return found[1] if found else ""
