"""The workspace that a command belongs to, which may be one of DVC's temporary copies of it."""

import os
from pathlib import Path

COPIES = ".dvc/tmp/exps"  # `dvc exp run --temp` and the queue work there, and remove it


def root() -> Path:
    """Return the current folder, or in a copy the folder that it is a copy of.

    DVC says in DVC_ROOT what is copied. It does so in every stage, and what a stage starts inherits
    it, in other projects too: it is believed in a copy alone.
    """
    here, said = Path.cwd(), os.environ.get("DVC_ROOT", "")
    if not said or not here.is_relative_to(Path(said).resolve() / COPIES):
        return here
    copy = next(folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir())
    return Path(said).resolve() / here.relative_to(copy)


def experiment() -> str:
    """Return the name that `dvc exp show` has for what runs here, empty outside an experiment."""
    said = os.environ.get("DVC_ROOT", "")
    ours = said and Path.cwd().is_relative_to(Path(said).resolve())
    return os.environ.get("DVC_EXP_NAME", "") if ours else ""


def place(folder: Path) -> str:
    """Return the path of a folder in the workspace, and in a copy the experiment's name with it.

    It tells runs apart: those of a copy are no runs of the workspace, until they are applied there.
    """
    here, workspace, resolved = Path.cwd(), root(), folder.resolve()
    if workspace == here or not resolved.is_relative_to(here):
        return str(resolved)
    return f"{workspace / resolved.relative_to(here)}#{experiment()}"
