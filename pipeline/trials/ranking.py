"""What a sweep has found: its trials and settings in order, and the best of them.

Trials are ranked one by one, unless the sweep varies the seed: then settings are, by their mean
over the seeds, as the best of several seeds is luck.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.trials.spread import Setting, by_setting, seed_of, spread
from pipeline.trials.trial_file import Trial


@dataclass(frozen=True)
class Answer:
    """What a sweep has found.

    Attributes
    ----------
    objective : str
        The metric that ranks.
    trials : list of Trial
        All, the best first; of a sweep over seeds, in the order of their settings.
    seeds : int
        How many different ones the trials have, or would have if the sweep had not ended early.
    ranked : int
        How many of `trials`, or of `settings` if there are any, have a rank.
    settings : list of Setting
        All, the best first; empty unless some were to be tried with several seeds.
    """

    objective: str
    trials: list[Trial]
    seeds: int
    ranked: int
    settings: list[Setting] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """Why nothing is best; empty if something is."""
        finished = [one for one in self.trials if one.status == "FINISHED"]
        if not finished:
            return "no trial has finished: run the sweep again"
        if not any(one.has(self.objective) for one in finished):
            return f"no trial has {self.objective}: choose another with sweep.objective=..."
        if len(self.settings) == 1:
            return "the trials differ in the seed alone, and a better seed is luck, not a setting"
        if not self.ranked:
            return f"no setting has finished with all {self.seeds} seeds: run the sweep again"
        return ""

    @property
    def best(self) -> Trial | None:
        """The best trial, or one of the best setting's; None if there is a problem."""
        if self.problem:
            return None
        return self.settings[0].trials[0] if self.settings else self.trials[0]


def answer(trials: Iterable[Trial], objective: str, direction: str, seeds: int = 0) -> Answer:
    """Rank the trials of a sweep that was to try so many seeds, as far as that was known.

    A setting that has not finished with every seed has no rank: its mean would leave out the
    seeds on which it failed, and be compared with means over others.
    """
    ranked = rank(list(trials), objective, direction)
    settings = by_setting(ranked)
    several = seeds > 1 or any(one.seeds > 1 for one in settings)
    seeds = max(seeds, len({seed_of(one) for one in ranked}))
    if not several:
        measured = sum(one.has(objective) for one in ranked)
        return Answer(objective, ranked, seeds, measured)
    sign = -1 if direction == "maximize" else 1

    def key(setting: Setting) -> tuple[int, float, float]:
        values = list(setting.values(objective).values())
        losses = list(setting.values("val_loss").values())
        mean = spread(values).mean if values else 0.0
        return seeds - len(values), sign * mean, spread(losses).mean if losses else math.inf

    settings.sort(key=key)
    whole = sum(len(one.values(objective)) == seeds for one in settings)
    ordered = [trial for one in settings for trial in one.trials]
    return Answer(objective, ordered, seeds, whole, settings)


def rank(trials: Sequence[Trial], objective: str, direction: str) -> list[Trial]:
    """Return finished trials, the best first, then the others; of equal ones the lower val_loss."""
    sign = -1 if direction == "maximize" else 1

    def key(trial: Trial) -> tuple[bool, float, float, int]:
        if not trial.has(objective):
            return True, 0.0, 0.0, trial.number
        value, loss = trial.metrics[objective], trial.metrics.get("val_loss", math.inf)
        return False, sign * value, loss, trial.number

    return sorted(trials, key=key)
