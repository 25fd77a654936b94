"""What a result came from: the commit, the lock, the versions, the machine."""

import getpass
import logging
import os
import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipeline import git
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.learning import determinism

log = logging.getLogger(__name__)
LOCK = Path("requirements.txt")
OUTS = (":!dvc.lock", ":!metrics", ":!plots")  # DVC removes and remakes these while it runs


@cache
def tags() -> dict[str, str]:
    """Return the tags that every MLflow run of this process gets."""
    found = {
        "mlflow.user": _user(),
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


def _user() -> str:
    """Return the name of the user, or the user's number if it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        return str(os.getuid())


@cache
def commit() -> str:
    """Return the hash of the last commit, empty without git or a commit."""
    try:
        return git.run("rev-parse", "HEAD").strip()
    except git.RefusedError as error:
        log.warning("Note: the commit is not recorded: %s.", error)
    except UserError:
        pass
    return ""


@cache
def changed() -> tuple[str, ...]:
    """Return the files that differ from the last commit, without those that the pipeline writes."""
    with suppress(UserError):  # there is no git
        lines = git.run("status", "--porcelain", "--", ".", *OUTS).strip().splitlines()
        return tuple(line.split(maxsplit=1)[1] for line in lines)
    return ()
