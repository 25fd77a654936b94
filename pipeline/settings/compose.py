"""The configuration of a command, composed by Hydra in a process that is not that command."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import UserError
from pipeline.settings import conf_source, explain, params
from pipeline.settings.check import check
from pipeline.settings.schema import Config, Paths


def load(overrides: Sequence[str] = (), folder: str | Path = "") -> Config:
    """Return the configuration that stages get: params.yaml and conf/, with overrides on top.

    Parameters
    ----------
    overrides : sequence of str
        As on the command line: `model=mlp`, `train.epochs=3`. Each has one value.
    folder : str or Path
        The project's root. If it is given, all paths of the configuration begin with it; without
        it, the root is the current folder, and they are relative.

    Raises
    ------
    UserError
        With the line that the command would print.
    """
    root = Path(folder).resolve()
    conf = root / params.CONF.name
    if not (root / params.FILE).exists():
        raise UserError(
            f"{params.FILE}: not found in {root}: give the project's root, as load(folder='..')"
        )
    conf_source.register()
    try:
        params.check(root, conf)
        for one in OverridesParser.create().parse_overrides(list(overrides)):
            if one.is_sweep_override():
                raise UserError(
                    f"{one.input_line}: has several values, and one is needed here: trying them is "
                    "a sweep, `python -m pipeline.train -m`"
                )
        with (
            params.resolving_from(params.load(root)),
            initialize_config_dir(str(conf), version_base="1.3"),
        ):
            composed = compose("config", list(overrides), return_hydra_config=True)
            if composed.hydra.mode is RunMode.MULTIRUN:
                given = " ".join(overrides)
                raise UserError(f"{given} is a sweep: run it as `python -m pipeline.train {given}`")
            config = check_in_force(composed)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(explain.one_line(error)) from error
    if not folder:
        return config
    paths = Paths(**{name: root / path for name, path in config.paths})
    return config.model_copy(update={"paths": paths})


def check_in_force(composed: DictConfig) -> Config:
    """Turn what was composed, Hydra's own section included, into a `Config`, as `check` does."""
    with in_force(composed):
        return check(
            OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        )


@contextmanager
def in_force(composed: DictConfig) -> Iterator[None]:
    """Let `HydraConfig` have what was composed for a while, as it has in a command."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(composed)
    try:
        yield
    finally:
        hydra.cfg = before
