"""What a command computes from: its files as they were when it began.

DVC hashes what a stage depends on when the stage's command has ended, and takes what it finds then
for what was used. So a command notes, when it begins, all that dvc.yaml names for its stage, and
keeps no result if something else is there at the end.
"""

import json
import os
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import conf_files, dvc_yaml, params

PACKAGE = "pipeline"
SMALL = 1_000_000  # bytes, of which the SHA-256 costs less than a millisecond


class Noted(NamedTuple):
    """A file or folder as it was.

    Attributes
    ----------
    path : Path
    look : callable
        Returns what is compared: values by their keys, or hashes by the names of files.
    stamps : dict of str to tuple of int
        The size and the date of each file; while they stay the same, so does the content.
    content : dict of str to Any
        What `look` returned.
    """

    path: Path
    look: Callable[[], dict[str, Any]]
    stamps: dict[str, tuple[int, int]]
    content: dict[str, Any]

    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Return what is different now, each with its value before and now."""
        if _tried(partial(_stamps, self.path)) == self.stamps:
            return {}
        before, now = self.content, _tried(self.look)
        pairs = {name: (before.get(name), now.get(name)) for name in before | now}
        return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


class Inputs:
    """What dvc.yaml names for a stage, as it was when this was made.

    Files are compared by their SHA-256; large files that stages make, by size and date. Of
    params.yaml and conf/, only the values that the stage reads are compared.
    """

    def __init__(self, stage: str):
        self.stage = stage
        files, data = dvc_yaml.deps(stage)
        stamps = {path: _stamps(path) for path in files}  # before what they stand for is read
        self.code = code(stage)
        self._files = [
            Noted(path, partial(_hashes, path), stamps[path], hashes)
            for path, hashes in self.code.items()
        ]
        self._data = [_note(path, partial(_state, path)) for path in data]
        self._values = [
            _note(path, partial(_read, path, keys)) for path, keys in dvc_yaml.params_of(stage)
        ]

    def check(self) -> None:
        """Refuse to go on if something is different by now.

        Raises
        ------
        UserError
            With the file, and the keys in it.
        """
        for noted in [*self._data, *self._files]:
            for name in noted.changes():
                raise _changed(name, self.stage)
        for noted in self._values:
            if changes := noted.changes():
                both = [(key, old, new) for key, (old, new) in changes.items() if old and new]
                how = ", ".join(f"{key} was {old}, is {new}" for key, old, new in both)
                raise _changed(str(noted.path), self.stage, how)

    def check_sweep(self) -> None:
        """Refuse to go on with a trial on other data or by other code than its sweep began with.

        Code that has been edited since does not matter to a process that had imported it.

        Raises
        ------
        UserError
            With the file.
        """
        now = code(self.stage)
        names = [name for noted in self._data for name in noted.changes()]
        for path, hashes in self.code.items():
            names += [name for name in hashes if hashes[name] != now.get(path, {}).get(name)]
        if names:
            raise UserError(
                f"{names[0]} changed since the sweep began: "
                "the same command trains this trial as it is now"
            )


@cache
def code(stage: str) -> dict[Path, dict[str, str]]:
    """Return the SHA-256 of the hand-made files that a stage depends on.

    They are those of the code that this process has imported, whatever is there later: a command
    begins with this, and Python imports a module once. `import_all` is for modules imported later.
    """
    return {path: _hashes(path) for path in dvc_yaml.deps(stage)[0]}


@cache
def import_all(stage: str) -> None:
    """Import the code of a stage that is not imported yet, before somebody edits it.

    Raises
    ------
    UserError
        If somebody has, since this process began.
    """
    for path, hashes in code(stage).items():
        for name in hashes:
            if name.endswith(".py") and name.startswith(f"{PACKAGE}/"):
                module = name.removesuffix(".py").removesuffix("/__init__")
                import_module(module.replace("/", "."))
        for name, digest in _hashes(path).items():
            if hashes.get(name) != digest:
                raise _changed(name, stage)


def _changed(name: str, stage: str, how: str = "") -> UserError:
    again = "run `dvc repro` again" if "DVC_STAGE" in os.environ else "run it again"
    line = f"{name} changed while {stage} ran: {again}"
    return UserError(f"{line} ({how})" if how else line)


def _note(path: Path, look: Callable[[], dict[str, Any]]) -> Noted:
    return Noted(path, look, _tried(partial(_stamps, path)), _tried(look))


def _tried(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is seen, nothing of a file that may not be read or is just being replaced."""
    try:
        return look()
    except OSError:
        return {}


def _files(path: Path) -> list[Path]:
    """Return the file, or those in the folder; bytecode, which comes by itself, is none."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file for file in files if file.is_file() and "__pycache__" not in file.parts]


def _stamps(path: Path) -> dict[str, tuple[int, int]]:
    stats = {str(file): file.stat() for file in _files(path)}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def _hashes(path: Path) -> dict[str, str]:
    return {str(file): sha256(file) for file in _files(path)}


def _state(path: Path) -> dict[str, Any]:
    return {
        name: sha256(Path(name)) if size < SMALL else (size, date)
        for name, (size, date) in _stamps(path).items()
    }


def _read(path: Path, keys: list[str] | None) -> dict[str, str]:
    """Return the values below the keys of a YAML file, as JSON, by their dotted keys.

    Those that the command line sets are not read. A file that is not there, or that somebody is
    just writing, has no values.
    """
    try:
        tree = conf_files.parse(conf_files.read(path), path)
    except UserError:
        return {}
    chosen = {
        name: json.dumps(value, sort_keys=True, default=str)
        for name, value in params.leaves(tree).items()
        if not keys or any(name == key or name.startswith(f"{key}.") for key in keys)
    }
    return {name: value for name, value in chosen.items() if name not in dvc_yaml.given()}
