"""The workspace that a command belongs to, which may be one of DVC's temporary copies of it."""

import os
from pathlib import Path

COPIES = ".dvc/tmp/exps"  # `dvc exp run --temp` and the queue work there, and remove it


def root() -> Path:
    """Return the current folder, or in a copy the folder that it is a copy of.

    DVC sets DVC_ROOT to the folder that is copied, in every stage. All that a stage starts inherits
    the variable, also in other projects. So it counts only inside a copy.
    """
    here, said = Path.cwd(), os.environ.get("DVC_ROOT", "")
    if not said or not here.is_relative_to(Path(said).resolve() / COPIES):
        return here
    copy = next(folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir())
    return Path(said).resolve() / here.relative_to(copy)


def experiment() -> str:
    """Return the name of the experiment that runs here, as `dvc exp show` has it, else nothing."""
    said = os.environ.get("DVC_ROOT", "")
    ours = said and Path.cwd().is_relative_to(Path(said).resolve())
    return os.environ.get("DVC_EXP_NAME", "") if ours else ""


def place(folder: Path) -> str:
    """Return the path of a folder of the workspace; in a copy, #EXPERIMENT follows it.

    MLflow's runs are found by it. The run of a copy counts as a run of the workspace only after the
    experiment has been applied there.
    """
    here, workspace, resolved = Path.cwd(), root(), folder.resolve()
    if workspace == here or not resolved.is_relative_to(here):
        return str(resolved)
    return f"{workspace / resolved.relative_to(here)}#{experiment()}"
