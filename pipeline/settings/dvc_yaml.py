"""What dvc.yaml names for a stage. DVC's own reader would take half a second to import."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.settings import params

FILE = Path("dvc.yaml")


def given() -> dict[str, str]:
    """Return what the command line sets, by key: every argument KEY=VALUE."""
    return dict(item.split("=", 1) for item in sys.argv[1:] if "=" in item)


def _stages() -> dict[str, Any]:
    try:
        text = FILE.read_text(encoding="utf-8")
        stages: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)["stages"]
    except FileNotFoundError:
        raise UserError(f"{FILE}: not found in {Path.cwd()}: run from the project's root") from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{FILE}: cannot be read ({' '.join(str(error).split())})") from None
    return stages


def deps(stage: str) -> tuple[list[Path], list[Path]]:
    """Return the dependencies of a stage that are hand-made, and those that stages make.

    A command that is no stage has none.
    """
    stages = _stages()
    outs = [out for one in stages.values() for out in one.get("outs", [])]
    made = [Path(out if isinstance(out, str) else next(iter(out))) for out in outs]
    code: list[Path] = []
    data: list[Path] = []
    for dep in map(Path, stages.get(stage, {}).get("deps", [])):
        is_made = any(dep.is_relative_to(out) or out.is_relative_to(dep) for out in made)
        (data if is_made else code).append(_filled_in(dep))
    return code, data


def is_frozen(stage: str) -> bool:
    """Tell whether DVC is told to take a stage for up to date, whatever has changed."""
    return bool(_stages().get(stage, {}).get("frozen"))


def params_of(stage: str) -> list[tuple[Path, list[str] | None]]:
    """Return the YAML files whose values a stage reads, each with the keys, or None for all."""
    found: list[tuple[Path, list[str] | None]] = []
    for entry in _stages().get(stage, {}).get("params", []):
        if isinstance(entry, str):
            found.append((params.FILE, [entry]))
        else:
            found += [(_filled_in(Path(name)), keys) for name, keys in entry.items()]
    return found


def _filled_in(path: Path) -> Path:
    """Return a path of dvc.yaml with values in place of ${KEY}: the command line's, or params's."""
    if "${" not in str(path):
        return path
    known = params.leaves(params.load()) | given()
    return Path(re.sub(r"\$\{([\w.]+)\}", lambda key: str(known.get(key[1], key[0])), str(path)))
