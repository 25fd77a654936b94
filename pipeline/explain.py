"""The line that tells a user what is wrong with the configuration, and in which file."""

import math
import re
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline import conf_files, params
from pipeline.errors import UserError, first_line


def one_line(error: BaseException) -> str:
    """Return what is wrong when Hydra could not compose the configuration."""
    if known := _told(error):
        return known
    text = str(error)
    if choice := re.search(
        r"Could not find '(\w+)/([^']*)'\s+Available options in '\w+':([^:]*\n)", text
    ):
        group, name, options = choice.groups()
        return f"{group}: there is no {name!r}; choose one of {', '.join(options.split())}"
    if override := re.match(r"Could not override '([^']+)'", text):
        return f"{override[1]} is not known{params.nearest(override[1], params.known_keys())}"
    lines = (line.strip() for line in text.splitlines() if "full_key:" not in line)
    return " ".join(line for line in lines if line) or first_line(error)


def unresolved(error: OmegaConfBaseException, composed: DictConfig) -> str:
    """Return which value of a composed configuration cannot be worked out, and why."""
    if known := _told(error):
        return known
    key = str(error.full_key or "")
    return f"{_file_of(key.split('.'), composed)}: {key}: {first_line(error)}"


def invalid(
    error: ValidationError,
    schema: type[BaseModel],
    composed: DictConfig,
    prefix: tuple[str, ...] = (),
) -> str:
    """Return what is wrong with each value that does not fit a section of the configuration."""
    return "; ".join(_problem(detail, schema, composed, prefix) for detail in error.errors())


def _told(error: BaseException) -> str:
    """Return what a `UserError` says from which this error comes, empty if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return ""


def _problem(
    detail: ErrorDetails, schema: type[BaseModel], composed: DictConfig, prefix: tuple[str, ...]
) -> str:
    location = [*prefix, *(part for part in detail["loc"] if part != "[key]")]
    key = ".".join(str(part) for part in location)
    where = _file_of(location, composed)
    if detail["type"] == "extra_forbidden":
        hint = params.nearest(str(location[-1]), _fields(schema, detail["loc"][:-1]))
        return f"{where}: {key} is not known{hint}"
    if detail["type"] == "missing":
        return f"{where}: {key} is missing"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    value = detail["input"]
    shown = "" if isinstance(value, dict) else f", not {_literal(value)}"
    return f"{where}: {key} {message}{shown}"


def _literal(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)[:80]


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


def _file_of(location: list[Any], composed: DictConfig) -> str:
    group = location[0] if location else ""
    if group in conf_files.VALUES_ONLY:
        return f"conf/{group}/{chosen(group) or composed[group].get('name', '*')}.yaml"
    return "params.yaml" if group in ("seed", "train") else "conf/config.yaml"


def chosen(group: str) -> str:
    """Return the name of the file that was chosen of a group, empty outside of Hydra's command."""
    return (
        str(HydraConfig.get().runtime.choices.get(group, "*")) if HydraConfig.initialized() else ""
    )
