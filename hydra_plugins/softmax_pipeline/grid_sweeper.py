"""Hydra's own sweeper, which has the whole sweep checked before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore


class GridSweeper(BasicSweeper):
    """Runs a trial for each combination of values."""

    def sweep(self, arguments: list[str]) -> None:
        """Begin the sweep and run its trials."""
        from pipeline.masking import masked_config
        from pipeline.side_by_side import later_trials
        from pipeline.sweeping import sweep, validate
        from pipeline.trials import spread

        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        overrides = validate.parse(loader, self._parse_config() + arguments)
        (trials,) = self.split_arguments([*overrides.values()], None)
        here = isinstance(self.launcher, BasicLauncher)
        seeds = spread.planned_seeds(trials)
        sweep.begin(loader, self.config, trials, here=here, seeds=seeds)
        later_trials.plan(trials)
        self.config = masked_config(self.config)  # is written into multirun.yaml
        super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: `pipeline.sweeping.sweep.begin` has looked at all trials."""


@dataclass
class Settings(BasicSweeperConf):
    """The keys of `hydra.sweeper`."""

    _target_: str = f"{__name__}.{GridSweeper.__name__}"


ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=Settings)
