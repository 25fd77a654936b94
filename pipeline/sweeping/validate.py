"""A sweep's configuration, checked before anything of the sweep is written."""

from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig

from pipeline.errors import UserError
from pipeline.learning.fingerprint import SETTINGS, settings
from pipeline.settings.compose import check_in_force
from pipeline.settings.conf_files import VALUES_ONLY
from pipeline.settings.params import CONF
from pipeline.settings.schema import Config

OWN = ("paths.output", "paths.models", "paths.metrics")  # each trial has its own
Trials = Sequence[Sequence[str]]  # the overrides of each


def parse(loader: ConfigLoader, preset: Sequence[str], given: Sequence[str]) -> dict[str, Override]:
    """Return the overrides of a sweep by their keys: those of a preset, or given in their place.

    Raises
    ------
    UserError
        If a line is no override; or if a key, or a value of a key, is given twice.
    """
    overrides = _by_key(loader, preset) | _by_key(loader, given)
    for key, one in overrides.items():
        seen: set[float | str] = set()
        for value in one.sweep_string_iterator() if one.is_choice_sweep() else ():
            if (same := _as_number(value)) in seen:
                raise UserError(f"{key}={value} is given twice: leave one out")
            seen.add(same)
    return overrides


def refuse(loader: ConfigLoader, config: DictConfig, trials: Trials) -> list[Config]:
    """Return the configurations of some trials, among which every choice of a file occurs.

    A trial with a bad value fails alone, when it is run. Composing a trial takes 50 ms, so not all
    are composed: those up to the first good one, one for each further choice of a file, which alone
    may be unknown, and one for another value of each key.

    Raises
    ------
    UserError
        If no trial can be trained; if a key or choice is unknown, or the file of a choice is
        broken; or if trials are sweeps themselves, write into the same folder, or differ and would
        be the same training.
    """
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    seen: set[str] = set()
    wrong: UserError | None = None
    right: list[tuple[Sequence[str], Config]] = []
    for overrides in trials:
        choices = {item for item in overrides if _key(item).lstrip("+") in groups}
        if right and choices <= seen:
            continue
        composed = loader.load_sweep_config(config, list(overrides))
        _refuse_sweep(composed, config, sorted(choices - seen))
        try:
            right.append((overrides, check_in_force(composed)))
            seen |= choices
        except UserError as error:
            wrong = wrong or error
    if not right:
        raise wrong or UserError("the sweep has no trials: a range or list is empty")
    first, _ = right[0]
    for item in first:
        if _key(item) in OWN:
            raise UserError(
                f"{item}: each trial of a sweep writes into its own folder: leave it out"
            )
    if "dataset" in varied(trials):
        raise UserError(
            "dataset: a sweep is of the data that `dvc repro` has made: run `dvc exp run -S "
            "dataset=...` for each"
        )
    _refuse_same(loader, config, trials, *right[0])
    return [checked for _, checked in right]


def refuse_chdir(chdir: bool | None) -> None:
    """Refuse to work in another folder than the project's root, to which all paths are relative."""
    if chdir:
        raise UserError(
            "hydra.job.chdir=true is not supported: leave it out, as paths are relative "
            "to the project's root"
        )


def varied(trials: Trials) -> dict[str, list[str]]:
    """Return the overrides of each key that has several values."""
    found: dict[str, dict[str, None]] = {}
    for overrides in trials:
        for item in overrides:
            found.setdefault(_key(item), {})[item] = None
    return {key: list(items) for key, items in found.items() if len(items) > 1}


def _by_key(loader: ConfigLoader, lines: Sequence[str]) -> dict[str, Override]:
    try:
        parsed = OverridesParser.create(loader).parse_overrides(list(lines))
    except OverrideParseException as error:
        raise UserError(f"{error.override}: {str(error).splitlines()[0]}") from error
    overrides: dict[str, Override] = {}
    for one in parsed:
        if before := overrides.get(one.get_key_element()):
            raise UserError(
                f"{one.key_or_group} is given twice, as {before.input_line} and as "
                f"{one.input_line}: leave one out"
            )
        overrides[one.get_key_element()] = one
    return overrides


def _refuse_sweep(composed: DictConfig, config: DictConfig, choices: Sequence[str]) -> None:
    """Refuse a sweep with a preset among its choices that is a sweep itself."""
    if composed.hydra.sweeper.get("params") != config.hydra.sweeper.get("params"):
        preset = next(item for item in choices if _key(item) not in VALUES_ONLY)
        raise UserError(
            f"{preset} is a sweep itself: run it alone, as `python -m pipeline.train {preset}`"
        )


def _refuse_same(
    loader: ConfigLoader,
    config: DictConfig,
    trials: Trials,
    overrides: Sequence[str],
    right: Config,
) -> None:
    """Refuse values of a key with which the first trial would be the same training.

    If one number makes another training, the other numbers of its key are taken to do so as well.
    Each word is tried, since two may mean the same.
    """
    for key, items in varied(trials).items():
        before = {_training(right): next(item for item in overrides if _key(item) == key)}
        for item in items:
            if item in overrides:
                continue
            other = [item if _key(one) == key else one for one in overrides]
            try:
                checked = check_in_force(loader.load_sweep_config(config, other))
            except (UserError, HydraException):  # such a trial fails alone
                continue
            same = before.setdefault(_training(checked), item)
            if same != item:
                raise UserError(
                    f"{same} and {item} would be the same training, which "
                    f"{', '.join(sorted(SETTINGS))} decide: leave one out"
                )
            if isinstance(_as_number(item.partition("=")[2]), float):
                break


def _training(config: Config) -> str:
    """Return what a training depends on and the trials of a sweep do not share."""
    return str((settings(config), config.paths.processed))


def _key(override: str) -> str:
    return override.partition("=")[0]


def _as_number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value
