"""The files that a command computes from, as they were when it began.

DVC hashes the dependencies of a stage only after its command has ended, and records what it finds
then. So a command notes, when it begins, all that dvc.yaml names for its stage. It keeps no result
if anything of that has changed at the end.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import conf_files, dvc_yaml, params

PACKAGE = "pipeline"
BY_ITSELF = re.compile(r"\.|__pycache__$")  # begins the names of what editors and Python write
SMALL = 1_000_000  # bytes, whose SHA-256 takes less than a millisecond


class Inputs:
    """All that dvc.yaml names for a stage, as it was when this object was made.

    Files are compared by their SHA-256, and large files that stages make by their size and date. Of
    params.yaml and conf/, only the values that the stage reads are compared.
    """

    def __init__(self, stage: str):
        self.stage = stage
        self._files, self._data = dvc_yaml.deps(stage)
        self._before = code(stage) | _hashes(self._data, SMALL)
        self._values = [(*one, _read(*one)) for one in dvc_yaml.params_of(stage)]

    def check(self) -> None:
        """Raise a UserError if anything has changed since."""
        for name in _changed(self._before, _hashes(self._files) | _hashes(self._data, SMALL)):
            raise _refusal(name, self.stage)
        for path, keys, before in self._values:
            now = _read(path, keys)
            if changed := _changed(before, now):
                both = [key for key in changed if before.get(key) and now.get(key)]
                how = ", ".join(f"{key} was {before[key]}, is {now[key]}" for key in both)
                raise _refusal(str(path), self.stage, how)

    def check_sweep(self) -> None:
        """Raise a UserError if data or code are not those that the sweep began with.

        In a process that has imported the code before, an edit of it makes no difference.
        """
        for name in _changed(self._before, code(self.stage) | _hashes(self._data, SMALL)):
            raise UserError(
                f"{name} changed since the sweep began: "
                "the same command trains this trial as it is now"
            )


def code(stage: str) -> dict[str, str]:
    """Return the SHA-256 of the hand-made files that a stage depends on.

    They are computed once, when the command begins, since Python imports a module once: what is
    edited later is not what this process runs. `import_all` checks modules that are imported later.
    """
    return _code(stage, Path.cwd())


@cache  # as long as `sys.modules` keeps the code
def _code(stage: str, _project: Path) -> dict[str, str]:
    return _hashes(dvc_yaml.deps(stage)[0])


@cache  # once they are imported, an edit changes nothing
def import_all(stage: str) -> None:
    """Import the code of a stage that is not imported yet; refuse what was edited before."""
    for name in code(stage):
        if name.endswith(".py") and name.startswith(f"{PACKAGE}/"):
            module = name.removesuffix(".py").removesuffix("/__init__")
            import_module(module.replace("/", "."))
    for name in _changed(code(stage), _hashes(map(Path, code(stage)))):
        raise _refusal(name, stage)


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def _refusal(name: str, stage: str, how: str = "") -> UserError:
    again = "run `dvc repro` again" if "DVC_STAGE" in os.environ else "run it again"
    line = f"{name} changed while {stage} ran: {again}"
    return UserError(f"{line} ({how})" if how else line)


def _hashes(paths: Iterable[Path], whole: float = math.inf) -> dict[str, str]:
    """Return the SHA-256 of files, and of the files in folders, by their paths.

    A file of `whole` bytes or more has its size and date instead. One that may not be read, or is
    just being replaced, is left out, and so are bytecode and hidden files in folders, as in
    .dvcignore.
    """
    found = {}
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            with suppress(OSError):
                inside = file.relative_to(path).parts
                if file.is_file() and not any(map(BY_ITSELF.match, inside)):
                    stat = file.stat()
                    date = f"{stat.st_size} {stat.st_mtime_ns}"
                    found[str(file)] = sha256(file) if stat.st_size < whole else date
    return found


def _read(path: Path, keys: list[str] | None) -> dict[str, str]:
    """Return the values below the keys of a YAML file, as JSON, by their dotted keys.

    Keys that the command line sets are left out. A file that is not there, or that somebody is
    writing at the moment, has no values.
    """
    try:
        tree = conf_files.parse(conf_files.read(path), path)
    except UserError:
        return {}
    return {
        name: json.dumps(value, sort_keys=True, default=str)
        for name, value in params.leaves(tree).items()
        if name not in dvc_yaml.given()
        and (not keys or any(f"{name}.".startswith(f"{key}.") for key in keys))
    }
