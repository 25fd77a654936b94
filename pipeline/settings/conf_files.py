"""The YAML files that users write, each checked before Hydra reads it.

A file is refused, in one line, if it cannot be read, would take long to read, or would make Hydra
run code. Values choose among the project's own tables, and name nothing to import.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from pipeline.errors import UserError, first_line
from pipeline.files import shown

MOST_BYTES = 100_000
MOST_DEPTH = 20
VALUES_ONLY = ("dataset", "model", "optimizer")  # groups whose files may only hold values
KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")
TWO_NUMBERS = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-5]?[0-9])+(\.[0-9_]*)?)")  # octal, base 60
OWN = ("config", "hydra")  # the project's own file and group, which may name classes


class Loader(yaml.CSafeLoader):
    """Reads plain values; keys must be text, and none may stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping as a dictionary."""
        found = set()
        for key, _ in node.value:
            problem = f"found duplicate key {key.value}" if str(key.value) in found else ""
            if key.tag not in KEY_TAGS:
                problem = "a key is not text"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            found.add(key.value)
        return super().construct_mapping(node, deep)


def read(path: Path) -> str:
    """Return the text of a file.

    Raises
    ------
    UserError
        If it cannot be read, is not UTF-8, or is larger than MOST_BYTES.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{shown(path)}: cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{shown(path)}: is larger than {MOST_BYTES:,} bytes: keep settings alone")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{shown(path)}: is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None


def parse(text: str, path: Path) -> dict[Any, Any]:
    """Return the keys and values of a YAML text; error lines name the file that it is from.

    Raises
    ------
    UserError
        If it is not YAML or not a mapping, or has aliases, by which a short text can become huge.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=Loader):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            assert event.start_mark is not None  # as it comes from a text
            where = f"{shown(path)}: line {event.start_mark.line + 1}:"
            if isinstance(event, AliasEvent):
                raise UserError(f"{where} aliases (*) are not supported: write the value out")
            if tag := getattr(event, "tag", None):
                shown_tag = tag.replace("tag:yaml.org,2002:", "!!")
                raise UserError(f"{where} tags ({shown_tag}) are not supported: leave it out")
            plain = isinstance(event, ScalarEvent) and event.implicit[0]
            number = getattr(event, "value", "")
            if plain and TWO_NUMBERS.fullmatch(number):
                raise UserError(
                    f"{where} {number} is one number to YAML 1.1 and another to 1.2, which "
                    "DVC reads: write it without a leading 0 or a colon, or as text in quotes"
                )
            if depth > MOST_DEPTH:
                raise UserError(f"{where} is nested more than {MOST_DEPTH} deep")
        parsed = yaml.load(text, Loader=Loader)  # noqa: S506  # a safe one
        for value in _strings(parsed):
            if "${" in value:
                OmegaConf.create([value])
    except (yaml.YAMLError, GrammarParseError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{shown(path)}:{place} is not valid YAML: {problem}") from None
    if parsed is None:
        raise UserError(f"{shown(path)}: is empty: it must hold keys and values, as KEY: VALUE")
    if not isinstance(parsed, dict):
        raise UserError(f"{shown(path)}: must hold keys and values, as KEY: VALUE")
    return parsed


def check(folder: Path, name: str, text: str | None = None) -> str:
    """Check a file below conf/ and return its text.

    Parameters
    ----------
    folder : Path
        conf/.
    name : str
        The path in it, with or without .yaml.
    text : str, optional
        What was read from the file before; without it, the file is read.

    Raises
    ------
    UserError
        If the file cannot be read, or would make Hydra run code.
    """
    path = folder / f"{name.removesuffix('.yaml')}.yaml"
    text = read(path) if text is None else text
    parsed = parse(text, path)
    group = Path(name).parts[0]
    if group in VALUES_ONLY and ("defaults" in parsed or "@package" in text):
        raise UserError(f"{shown(path)}: holds values only: no `defaults`, no `@package`")
    if group not in OWN and any("_target_" in value for value in _strings(parsed)):
        raise UserError(f"{shown(path)}: _target_ is not known: a configuration runs no code")
    return text


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value)
    elif isinstance(tree, str):
        yield tree
