"""params.yaml, read by `${params:KEY}` wherever a configuration is composed."""

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import UserError

FILE = Path("params.yaml")
_instead: str | None = None
CONF = Path(__file__).parent.parent / "conf"


def value(key: str) -> Any:
    """Return the value of a dotted key of params.yaml.

    Raises
    ------
    UserError
        If the file cannot be read or has no such key.
    """
    found: Any = load()
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise UserError(f"{FILE}: {key} is missing")
        found = found[part]
    return found


def load() -> dict[str, Any]:
    """Return params.yaml as plain dictionaries.

    Raises
    ------
    UserError
        If it is not there, not UTF-8, not YAML, or not a mapping.
    """
    if _instead is not None:
        return _parse(_instead)
    try:
        return _parse(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{FILE}: not found in {Path.cwd()}: run from the project's root") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{FILE}: is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None


def use(text: str | None) -> None:
    """Read this text instead of the file, until it is None again."""
    global _instead  # noqa: PLW0603  # resolvers have no other way to be told
    _instead = text


@lru_cache(maxsize=1)
def _parse(text: str) -> dict[str, Any]:
    if not text.strip():
        raise UserError(f"{FILE}: is empty; it must hold {', '.join(known_keys())}")
    try:
        parsed = OmegaConf.create(text)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{FILE}:{place} is not valid YAML: {problem}") from None
    if not isinstance(parsed, DictConfig):
        raise UserError(f"{FILE}: must hold keys and values ({', '.join(known_keys())})")
    container = OmegaConf.to_container(parsed, resolve=False)
    return {str(key): item for key, item in container.items()}  # type: ignore[union-attr]


def known_keys() -> list[str]:
    """Return the dotted keys that conf/config.yaml reads from params.yaml, in its order."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    return list(dict.fromkeys(re.findall(r"\$\{params:([a-z][\w.]*)\}", text)))


def check_keys() -> None:
    """Refuse keys that conf/config.yaml does not read, and the lack of one that it does.

    Raises
    ------
    UserError
        With the nearest key that is known, or the one that is missing.
    """
    known = known_keys()
    for key in _leaves(load()):
        if key not in known:
            raise UserError(f"{FILE}: {key} is not known{nearest(key, known)}")
    for key in known:
        value(key)


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, item in tree.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a hint that names the key most like `key`, or all of them."""
    names = list(known)
    if close := difflib.get_close_matches(key, names, n=1):
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(names)}" if names else ""


OmegaConf.register_new_resolver("params", value, replace=True)
