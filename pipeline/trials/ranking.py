"""What a sweep has found: its trials and settings in order, and the best of them.

Trials are ranked one by one. If the sweep varies the seed, settings are ranked instead, by their
mean over the seeds, because the best of several seeds is luck.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.report.intervals import of_difference
from pipeline.trials.spread import Setting, by_setting, seed_of, spread
from pipeline.trials.trial_file import Trial


@dataclass(frozen=True)
class Answer:
    """What a sweep has found.

    Attributes
    ----------
    objective : str
        The metric by which they are ranked.
    settings : list of Setting
        All, the best first. If the seed was not varied, each trial is a setting of its own.
    seeds : int
        How many different seeds the trials have, or would have if all had been run.
    over_seeds : bool
        Whether the seed was varied, so that each setting has a trial for each seed.
    """

    objective: str
    settings: list[Setting]
    seeds: int
    over_seeds: bool = False

    @property
    def trials(self) -> list[Trial]:
        """All trials, in the order of their settings."""
        return [trial for one in self.settings for trial in one.trials]

    @property
    def ranked(self) -> int:
        """How many settings have a rank: those that were measured with every seed."""
        whole = self.seeds if self.over_seeds else 1
        return sum(len(one.values(self.objective)) == whole for one in self.settings)

    @property
    def of_seeds(self) -> bool:
        """Whether the trials differ in the seed alone."""
        return self.over_seeds and len(self.settings) == 1

    @property
    def problem(self) -> str:
        """Why nothing is best; empty if something is."""
        finished = [one for one in self.trials if one.status == "FINISHED"]
        if not finished:
            return "no trial has finished: run the sweep again"
        if not any(one.has(self.objective) for one in finished):
            return f"no trial has {self.objective}: choose another with sweep.objective=..."
        if self.of_seeds:
            return "the trials differ in the seed alone, and a better seed is luck, not a setting"
        if not self.ranked:
            return f"no setting has finished with all {self.seeds} seeds: run the sweep again"
        return ""

    @property
    def ties(self) -> list[Trial]:
        """The trials whose difference from the best has a 95 % interval that holds zero.

        Which examples each trial has right is not kept. So the interval is that of answers to
        different examples, which is wider than that of answers to the same ones.
        """
        best, name = self.best, self.objective
        if self.over_seeds or not best or not best.interval(name):
            return []
        others = [one for one in self.trials if one is not best and one.interval(name)]
        return [one for one in others if _tied(best, one)]

    @property
    def best(self) -> Trial | None:
        """The best trial, or a trial of the best setting; None if there is a problem."""
        return None if self.problem else self.settings[0].trials[0]


def _tied(best: Trial, other: Trial) -> bool:
    low, high = of_difference((other.correct, best.correct), (other.held_out, best.held_out))
    return low <= 0 <= high


def answer(trials: Iterable[Trial], objective: str, direction: str, seeds: int = 0) -> Answer:
    """Rank what a sweep has tried.

    A setting that has not finished with every seed has no rank: its mean would leave out the seeds
    with which it failed. Of settings with equal means, the one with the lower val_loss is better.

    Parameters
    ----------
    trials : iterable of Trial
    objective : str
        A metric.
    direction : "maximize" or "minimize"
    seeds : int
        How many seeds were planned, 0 if that is not known.
    """
    trials = sorted(trials, key=lambda one: one.number)
    settings = by_setting(trials)
    over_seeds = seeds > 1 or any(one.seeds > 1 for one in settings)
    seeds = max(seeds, len({seed_of(one) for one in trials}))
    if not over_seeds:
        settings = [Setting(one.name, [one]) for one in trials]
    sign = -1 if direction == "maximize" else 1

    def key(setting: Setting) -> tuple[int, float, float]:
        values, losses = (setting.values(metric).values() for metric in (objective, "val_loss"))
        mean = spread([*values]).mean if values else 0.0
        return -len(values), sign * mean, spread([*losses]).mean if losses else math.inf

    return Answer(objective, sorted(settings, key=key), seeds, over_seeds)
