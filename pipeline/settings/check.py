"""Checks what Hydra has composed, before anything heavy is imported, and makes it a `Config`."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError, create_model

from pipeline.errors import UserError
from pipeline.settings import explain, params
from pipeline.settings.conf_files import VALUES_ONLY
from pipeline.settings.dataset import Section
from pipeline.settings.schema import Choice, Config

SectionType = TypeVar("SectionType", bound=Section)


def check(composed: DictConfig) -> Config:
    """Turn what Hydra composed into a `Config`.

    Raises
    ------
    UserError
        With one line that names each wrong key, the file it stands in and what it may be.
    """
    # imported here: if a trial's sweep began with other code than this, it is refused before
    from pipeline.metrics import METRICS
    from pipeline.models import MODELS
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
    for metric in config.metrics:
        if metric.name not in METRICS:
            hint = params.did_you_mean(metric.name, METRICS)
            raise UserError(
                f"{explain.where_set('metrics', composed)}: there is no {metric.name!r}{hint}"
            )
        measured.append(_with_options(metric, METRICS, composed, ("metrics", metric.name)))
    return config.model_copy(update={"metrics": measured})


def _check_train(config: Config, schedules: Mapping[str, Any], composed: DictConfig) -> None:
    """Refuse a schedule that is not in the table, and patience that cannot watch its objective."""
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
    """Return a choice with its options, checked and converted by the annotations of its entry."""
    options = check_options(table[choice.name], choice.options, key, composed)
    return Choice(name=choice.name, **options)


def check_section(schema: type[SectionType], composed: DictConfig, name: str) -> SectionType:
    """Turn one section of what Hydra composed into a `schema`; it raises what `check` raises."""
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
    """Check options by the keyword-only arguments that a model, optimizer, metric or reader has.

    Parameters
    ----------
    made : class or function
        What the options are for.
    options : dict of str to Any
    prefix : tuple of str
        The key below which the options stand.
    composed : DictConfig, optional
        What Hydra composed, for error lines.
    context : dict, optional
        What validators of the annotations may look into.

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
