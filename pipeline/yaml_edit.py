"""New values in YAML files that people have written: comments and order stay as they are."""

import io
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from ruamel.yaml.util import load_yaml_guess_indent

from pipeline.files import replacing


def with_values(text: str, values: Mapping[str, Any]) -> str:
    """Return a YAML text with these values at their dotted keys; keys that it lacks are added."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    editor.width = 10_000
    _, indent, offset = load_yaml_guess_indent(text)
    editor.indent(sequence=indent, offset=offset)
    tree = editor.load(text)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        if isinstance(value, list) and isinstance(section.get(name), list):
            section[name][:] = list(map(_node, value))  # keeps brackets, or a line an item
        else:
            section[name] = _node(value)
    stream = io.StringIO()
    editor.dump(tree, stream)
    return stream.getvalue()


def _node(value: Any) -> Any:
    """Return a value as it is to be written: lists in brackets, text in quotes if it needs them."""
    if isinstance(value, list):
        items = CommentedSeq(map(_node, value))
        items.fa.set_flow_style()
        return items
    if isinstance(value, str) and (yaml.safe_load(value) != value or not value[0].isalpha()):
        return SingleQuotedScalarString(value)  # YAML 1.1, which Hydra reads, takes `off` as false
    return value


def write_all(texts: Mapping[Path, str]) -> None:
    """Write several files, all of them or none.

    Raises
    ------
    UserError
        If one cannot be written; the others are as they were.
    """
    before = {path: path.read_bytes() for path in texts}
    try:
        with ExitStack() as files:
            for path, text in texts.items():
                files.enter_context(replacing(path)).write_text(text, encoding="utf-8")
    except BaseException:
        for path, content in before.items():
            if path.read_bytes() != content:
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
        raise
