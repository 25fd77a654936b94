"""The line that tells a user what is wrong with the configuration, and where it is set."""

import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import UserError, first_line, said
from pipeline.settings import conf_files, params


def one_line(error: BaseException) -> str:
    """Return what is wrong when Hydra could not compose the configuration."""
    if known := _user_error(error):
        return known
    text = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        file = str(error.missing_cfg_file)
        *place, name = file.split("/", 2 if file.startswith("hydra/") else 1)
        return f"{'/'.join(place)}: there is no {name!r}; choose one of {', '.join(error.options)}"
    if group := re.search(r"To append to your default list use (\S+)", text):
        return f"{group[1].lstrip('+')} is not in the defaults: use {group[1]}"
    if twice := re.match(r"Multiple values for .* use 'override (\S+): (.*)'", text):
        return f"{twice[1]} has a value: use {twice[1]}={twice[2]}"
    if override := re.match(r"Could not override '([^']+)'", text):
        return f"{override[1]} is not known{_hint(override[1], error.__cause__)}"
    if kind := re.match(r"Config group override must be a string or a list. Got (\w+)", text):
        groups = ", ".join(conf_files.VALUES_ONLY)
        return f"{groups}: should be the name of a file of conf/, which is text, not {kind[1]}"
    lines = (line.strip() for line in text.splitlines() if "full_key:" not in line)
    return " ".join(line for line in lines if line) or first_line(error)


def _hint(key: str, error: BaseException | None) -> str:
    """Return a hint that names the key which is most like one that its section does not have."""
    section = getattr(error, "parent_node", None)
    if isinstance(section, DictConfig) and (above := section._get_full_key("")):
        hint = params.did_you_mean(key, [f"{above}.{name}" for name in map(str, section)])
        if above in ("model", "optimizer") and "did you mean" not in hint:
            hint += f"; an option that its file leaves out is set by +{key}=VALUE"
        return hint
    return params.did_you_mean(key, params.known_keys())


def unresolved(error: OmegaConfBaseException, composed: DictConfig) -> str:
    """Return which value of a composed configuration cannot be resolved, and why."""
    if known := _user_error(error):
        return known
    wanted = re.match(r"Interpolation key '((\w+)\.\w+)' not found", str(error))
    if wanted and wanted[2] in conf_files.VALUES_ONLY:  # conf/config.yaml reads it from there
        return f"{where_set(wanted[1], composed)} is missing"
    return f"{where_set(str(error.full_key or ''), composed)}: {first_line(error)}"


def invalid(
    error: ValidationError,
    schema: type[BaseModel],
    composed: DictConfig | None,
    prefix: tuple[str, ...] = (),
) -> str:
    """Return what is wrong with each value that does not fit a section of the configuration."""
    return "; ".join(_problem(detail, schema, composed, prefix) for detail in error.errors())


def _user_error(error: BaseException) -> str:
    """Return the message of the `UserError` that caused this error, empty if none did."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return ""


def _problem(
    detail: ErrorDetails,
    schema: type[BaseModel],
    composed: DictConfig | None,
    prefix: tuple[str, ...],
) -> str:
    location = [*prefix, *(part for part in detail["loc"] if part != "[key]")]
    key = ".".join(str(part) for part in location)
    where = where_set(key, composed)
    if detail["type"] == "extra_forbidden":
        above = ".".join(str(part) for part in location[:-1])
        known = _fields(schema, detail["loc"][:-1])
        hint = params.did_you_mean(key, [f"{above}.{name}" if above else name for name in known])
        return f"{where} is not known{hint}"
    if detail["type"] == "missing":
        return f"{where} is missing"
    return f"{where} {said(detail)}"


def _fields(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue
        annotation = schema.model_fields[part].annotation
        inner = next((a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)), None)
        found = annotation if isinstance(annotation, type) else inner
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return []
        schema = found
    return list(schema.model_fields)


def where_set(key: str, composed: DictConfig | None = None) -> str:
    """Return where a key is set, for the start of a message: its override, or else its file."""
    if HydraConfig.initialized():
        task: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        for override in reversed(task):
            name = override.lstrip("+").partition("=")[0]
            if name in conf_files.VALUES_ONLY:
                continue
            if name == key:
                return f"{override} on the command line"
            if key.startswith(f"{name}."):
                return f"{override} on the command line: {key}"
    group = key.partition(".")[0]
    file = "params.yaml" if group in ("seed", "train") else "conf/config.yaml"
    if group in conf_files.VALUES_ONLY:
        other = composed[group].get("name", "*") if composed else "*"
        file = f"conf/{group}/{chosen(group) or other}.yaml"
    return f"{file}: {key}"


def chosen(group: str) -> str:
    """Return which file of a group was chosen, empty if Hydra has composed no configuration."""
    if not HydraConfig.initialized():
        return ""
    return str(HydraConfig.get().runtime.choices.get(group, "*"))
