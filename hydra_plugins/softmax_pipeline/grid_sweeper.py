"""Hydra's own sweeper, but the whole sweep is checked before anything is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore


class GridSweeper(BasicSweeper):
    """Runs a trial for each combination of values."""

    def setup(self, **given: Any) -> None:
        """Keep the task, which will finish the sweep."""
        super().setup(**given)
        self.task = given["task_function"]

    def sweep(self, arguments: list[str]) -> None:
        """Begin the sweep and run its trials."""
        from pipeline.masking import masked_config
        from pipeline.sweeping import validate
        from pipeline.sweeping.sweep import Sweep

        assert self.hydra_context is not None
        assert self.config is not None
        loader, group = self.hydra_context.config_loader, self.task.group
        arguments = arguments + ([f"seed=range(0,{group.seeds})"] if group else [])
        overrides = validate.parse(loader, self._parse_config(), arguments)
        (trials,) = self.split_arguments([*overrides.values()], None)
        self.task.sweep = Sweep(loader, self.config, trials, planned=trials, group=group)
        self.task.sweep.begin(here=isinstance(self.launcher, BasicLauncher))
        self.config = masked_config(self.config)  # Hydra writes it into multirun.yaml
        super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing: `pipeline.sweeping.sweep.Sweep` has looked at all trials."""


@dataclass
class Settings(BasicSweeperConf):
    """The keys of `hydra.sweeper`."""

    _target_: str = f"{__name__}.{GridSweeper.__name__}"


ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=Settings)
