"""Mistakes in a sweep's configuration, found before anything of it is written."""

from collections.abc import Iterable, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config, check
from pipeline.errors import UserError
from pipeline.params import CONF


def refuse(
    loader: ConfigLoader, config: DictConfig, trials: Iterable[Sequence[str]]
) -> Config | None:
    """Refuse trials of which one has an unknown key or choice, or none has possible values.

    Return the first trial's configuration that is right.

    A bad value of some trials is their own affair. To compose a trial takes 50 ms: it is done up
    to the first that is right, and then for each new choice, as only that can be unknown.

    Raises
    ------
    UserError
        If no trial has possible values: what is wrong with the first. If a chosen file is broken.
    HydraException
        If a key or a choice is unknown.
    """
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    seen: set[str] = set()
    wrong: UserError | None = None
    right: Config | None = None
    for overrides in trials:
        choices = {item for item in overrides if item.partition("=")[0].lstrip("+") in groups}
        if right and choices <= seen:
            continue
        seen |= choices
        composed = loader.load_sweep_config(config, list(overrides))
        try:
            checked = _check(composed)
            right = right or checked
        except UserError as error:
            wrong = wrong or error
    if wrong and not right:
        raise wrong
    return right


def _check(composed: DictConfig) -> Config:
    hydra = HydraConfig.instance()
    hydra.set_config(composed)
    try:
        return check(
            OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        )
    finally:
        hydra.cfg = None
