"""What the project's git repository says; nothing here writes to it."""

import os
import subprocess
from pathlib import Path

from pipeline.errors import UserError

# Variables that git sets for a hook, and that name the repository of the hook.
OF_A_HOOK = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_WORK_TREE")


class RefusedError(UserError):
    """Git does not read a repository that belongs to another user."""


def run(*arguments: str) -> str:
    """Return what git prints.

    Raises
    ------
    RefusedError
        If the repository belongs to another user.
    UserError
        With git's last line if it fails.
    """
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            env=environment(),
            capture_output=True,
            check=True,
        )
    except OSError as error:
        raise UserError(f"git is needed, and cannot be run: {error.strerror}") from None
    except subprocess.CalledProcessError as error:
        lines = os.fsdecode(error.stderr).strip().splitlines() or [f"exit code {error.returncode}"]
        if remedy := [line.strip() for line in lines if "safe.directory" in line]:
            raise RefusedError(
                f"git does not read this folder, as another user owns it: `{remedy[-1]}` allows it"
            ) from None
        raise UserError(f"git {arguments[0]}: {lines[-1]}") from None
    return os.fsdecode(done.stdout)  # as file names may be in it


def workspace_files() -> list[str]:
    """Return the files of the workspace that git tracks, or would if they were added."""
    listed = run("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in dict.fromkeys(listed) if name and Path(name).is_file()]


def revision(rev: str) -> str:
    """Return the commit that a revision names.

    Raises
    ------
    UserError
        If there is none, or no repository.
    """
    try:
        run("rev-parse", "--show-toplevel")
    except RefusedError:
        raise
    except UserError as error:
        raise UserError(f"needs a git repository, whose commit it verifies: {error}") from None
    if found := commit(rev):
        return found
    raise UserError(f"rev: git knows no commit {rev!r}")


def commit(rev: str) -> str:
    """Return the commit that a revision names, empty if there is none."""
    try:
        return run("rev-parse", "--verify", "--end-of-options", f"{rev}^{{commit}}").strip()
    except RefusedError:
        raise
    except UserError:
        return ""


def environment() -> dict[str, str]:
    """Return the environment without the variables of a hook, which name another repository."""
    return {k: v for k, v in os.environ.items() if k not in OF_A_HOOK}
