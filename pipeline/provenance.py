"""What a result came from: the commit, the lock, the versions, the machine."""

import getpass
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipeline import determinism
from pipeline.files import sha256

LOCK = Path("requirements.txt")
OUTS = (":!dvc.lock", ":!metrics", ":!plots")  # DVC removes and remakes these while it runs


@cache
def tags() -> dict[str, str]:
    """Return the tags that every MLflow run of this process gets, whose code does not change."""
    found = {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "pipeline.train",
        "mlflow.source.type": "LOCAL",
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "processor": determinism.processor(),
    }
    if LOCK.exists():
        found["lock_sha256"] = sha256(LOCK)
    if commit():
        found["mlflow.source.git.commit"] = commit()
        found["git_dirty"] = str(bool(changed())).lower()
    return found


@cache
def commit() -> str:
    """Return the hash of the last commit, empty without git or a commit."""
    return _git("rev-parse", "HEAD")


@cache
def changed() -> tuple[str, ...]:
    """Return the files that differ from the last commit, but for what the pipeline makes."""
    lines = _git("status", "--porcelain", "--", ".", *OUTS).splitlines()
    return tuple(line.split(maxsplit=1)[1] for line in lines)


@cache
def committed(path: Path) -> str:
    """Return the text that a file of this folder has in the last commit, empty if it has none."""
    return _git("show", f"HEAD:./{path}")


def _git(*arguments: str) -> str:
    """Return what git prints; nothing where there is no git or no commit."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return os.fsdecode(done.stdout).strip()
