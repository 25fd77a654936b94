"""What a configuration reads by resolvers: `${params:KEY}` and `${environment:NAME,DEFAULT}`."""

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.errors import UserError
from pipeline.settings import conf_files

FILE = Path("params.yaml")
CONF = Path(__file__).parents[2] / "conf"


def load(folder: Path = Path()) -> dict[str, Any]:
    """Return the params.yaml of a folder as nested dictionaries.

    Raises
    ------
    UserError
        If it is not there, or `conf_files.parse` refuses it.
    """
    if not (folder / FILE).exists():
        raise UserError(f"{FILE}: not found in {Path.cwd()}: run from the project's root")
    text = conf_files.read(folder / FILE)
    conf_files.parse(text, FILE)
    container = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    return {str(key): item for key, item in container.items()}  # type: ignore[union-attr]


def value(key: str) -> Any:
    """Return the value that params.yaml has for a dotted key.

    Raises
    ------
    UserError
        If the key is missing, and as `load` does.
    """
    return _value(load(), key)


def leaves(tree: Mapping[Any, Any], prefix: str = "", *, lists: bool = False) -> dict[str, Any]:
    """Return the values of nested dictionaries, and of `lists` in them, by their dotted keys."""
    found: dict[str, Any] = {}
    for key, item in tree.items():
        inner = dict(enumerate(item)) if lists and isinstance(item, list) else item
        nested = isinstance(inner, dict) and inner
        below = leaves(inner, f"{prefix}{key}.", lists=lists) if nested else {}
        found |= below or {f"{prefix}{key}": item}
    return found


def resolve_from(tree: dict[str, Any]) -> None:
    """Let `${params:KEY}` have these values, here and in the processes that train a sweep's trials.

    Otherwise it reads params.yaml each time.
    """
    OmegaConf.register_new_resolver("params", partial(_value, tree), replace=True)


@contextmanager
def resolving_from(tree: dict[str, Any]) -> Iterator[None]:
    """Let `${params:KEY}` have these values for a while, and then those of the file again."""
    resolve_from(tree)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("params", value, replace=True)


def _value(tree: dict[str, Any], key: str) -> Any:
    found: Any = tree
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise UserError(f"{FILE}: {key} is missing")
        found = found[part]
    return found


def known_keys(conf: Path = CONF) -> list[str]:
    """Return the dotted keys that conf/config.yaml reads from params.yaml, in its order."""
    text = conf_files.check(conf, "config")
    return list(dict.fromkeys(re.findall(r"\$\{params:([a-z][\w.]*)\}", text)))


def check(root: Path = Path(), conf: Path = CONF) -> None:
    """Refuse keys that conf/config.yaml does not read, missing ones, and choices without a file."""
    known, tree = known_keys(conf), load(root)
    for group, dot, name in (key.partition(".") for key in tree):
        if dot:
            raise UserError(f"{FILE}: {group}.{name} is not read: write `{name}` below `{group}:`")
    for key in leaves(tree):
        if inside := [name for name in known if name.startswith(f"{key}.")]:
            raise UserError(f"{FILE}: {key} should hold {', '.join(inside)}")
        if key not in known:
            raise UserError(f"{FILE}: {key} is not known{did_you_mean(key, known)}")
    for key in known:
        _value(tree, key)
    for group in conf_files.VALUES_ONLY:
        options = sorted(path.stem for path in (conf / group).glob("*.yaml"))
        if (chosen := _value(tree, group)) not in options:
            shown = json.dumps(chosen, default=str)
            raise UserError(
                f"{FILE}: {group}: there is no {shown}; choose one of {', '.join(options)}"
            )


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """Return a hint that names the key most like `key` in its last part, or all of them."""
    names = {name.rpartition(".")[2]: name for name in known}
    if close := difflib.get_close_matches(key.rpartition(".")[2], names, n=1):
        return f"; did you mean {names[close[0]]}?"
    return f"; known are {', '.join(names.values())}" if names else ""


def environment(name: str, default: str) -> str:
    """Return a variable of the environment, or the default if it is empty or not set."""
    return os.environ.get(name, "").strip() or default


OmegaConf.register_new_resolver("params", value, replace=True)
OmegaConf.register_new_resolver("environment", environment, replace=True)
