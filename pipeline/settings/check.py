"""What Hydra composes becomes a configuration, before anything heavy is imported."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError, create_model

from pipeline.errors import UserError
from pipeline.settings import conf_source, explain, params
from pipeline.settings.conf_files import VALUES_ONLY
from pipeline.settings.schema import Choice, Config, Paths, Section

SectionType = TypeVar("SectionType", bound=Section)


def load(overrides: Sequence[str] = (), folder: str | Path = "") -> Config:
    """Return the configuration that stages get: params.yaml and conf/, with overrides on top.

    Parameters
    ----------
    overrides : sequence of str
        As on the command line: `model=mlp`, `train.epochs=3`. Each has one value.
    folder : str or Path
        The project's root; it is the current folder unless it is given. Then all paths begin there.

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
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain.one_line(error)) from error
    if not folder:
        return config
    paths = Paths(**{name: root / path for name, path in config.paths})
    return config.model_copy(update={"paths": paths})


def check_in_force(composed: DictConfig) -> Config:
    """Turn what was composed, with Hydra's own part, into a `Config`, as `check` does."""
    with in_force(composed):
        return check(
            OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        )


@contextmanager
def in_force(composed: DictConfig) -> Iterator[None]:
    """Let `HydraConfig` have what was composed, as in the command that it is composed for."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(composed)
    try:
        yield
    finally:
        hydra.cfg = before


def check(composed: DictConfig) -> Config:
    """Turn what Hydra composed into a `Config`.

    Raises
    ------
    UserError
        With one line that names each wrong key, the file it stands in and what it may be.
    """
    from pipeline.metrics import METRICS
    from pipeline.models import MODELS  # a trial is refused if these were edited, before it is here
    from pipeline.optimizers import OPTIMIZERS
    from pipeline.schedules import SCHEDULES

    for group in VALUES_ONLY:
        if "/" in (name := explain.chosen(group)):
            raise UserError(f"{group}: {name!r} is not the name of a file of conf/{group}/")
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = Config.model_validate(values)
    except OmegaConfBaseException as error:
        raise UserError(explain.unresolved(error, composed)) from error
    except ValidationError as error:
        raise UserError(explain.invalid(error, Config, composed)) from None
    if (file := explain.chosen("dataset")) not in ("", name := config.dataset.name):
        key = explain.where_set("dataset.name", composed)
        raise UserError(f"{key} must be {file!r}, as the file is called, not {name!r}")
    for group, table in (("model", MODELS), ("optimizer", OPTIMIZERS)):
        choice: Choice = getattr(config, group)
        if choice.name not in table:
            known = ", ".join(sorted(table))
            raise UserError(f"{group}.name: there is no {choice.name!r}; choose one of {known}")
        checked = _with_options(choice, table, composed, (group,))
        config = config.model_copy(update={group: checked})
    _check_train(config, SCHEDULES, composed)
    measured = []
    for place, metric in enumerate(config.metrics):
        if metric.name not in METRICS:
            hint = params.did_you_mean(metric.name, METRICS)
            raise UserError(
                f"{explain.where_set('metrics', composed)}: there is no {metric.name!r}{hint}"
            )
        measured.append(_with_options(metric, METRICS, composed, ("metrics", str(place))))
    return config.model_copy(update={"metrics": measured})


def _check_train(config: Config, schedules: Mapping[str, Any], composed: DictConfig) -> None:
    """Refuse a schedule that there is not, and patience that nothing could end."""
    train, sweep = config.train, config.sweep
    best = "minimize" if sweep.objective.endswith("loss") else "maximize"
    if train.schedule not in schedules:
        why = f": there is no {train.schedule!r}; choose one of {', '.join(schedules)}"
        key = "train.schedule"
    elif train.patience and sweep.objective.startswith("val_") and not train.validation_size:
        why = " needs held-out examples: set train.validation_size, or sweep.objective to loss"
        key = "train.patience"
    elif train.patience and sweep.direction != best:
        why = f" should be {best}, as train.patience waits for a better {sweep.objective}"
        key = "sweep.direction"
    else:
        return
    raise UserError(f"{explain.where_set(key, composed)}{why}")


def _with_options(
    choice: Choice, table: Mapping[str, Any], composed: DictConfig, key: tuple[str, ...]
) -> Choice:
    """Return a choice with its options as the annotations of what it names have them."""
    options = check_options(table[choice.name], choice.options, key, composed)
    return Choice(name=choice.name, **options)


def check_section(schema: type[SectionType], composed: DictConfig, name: str) -> SectionType:
    """Turn one part of what Hydra composed into its section, with the errors of `check`."""
    try:
        return schema.model_validate(OmegaConf.to_container(composed[name], resolve=True))
    except ValidationError as error:
        raise UserError(explain.invalid(error, schema, composed, (name,))) from None


def check_options(
    made: Any,
    options: dict[str, Any],
    prefix: tuple[str, ...],
    composed: DictConfig | None = None,
    context: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Check options by the keyword-only arguments that a model, optimizer or reader declares.

    Their annotations may have validators that look into `context`.

    Raises
    ------
    UserError
        With one line that names each wrong option below `prefix`.
    """
    fields: dict[str, Any] = {
        name: (
            parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for name, parameter in inspect.signature(made).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    schema: type[BaseModel] = create_model(
        str(made.__name__), __base__=Section, __module__=made.__module__, **fields
    )  # the module in which annotations that are text are looked up
    try:
        return schema.model_validate(options, context=context).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise UserError(explain.invalid(error, schema, composed, prefix)) from None
