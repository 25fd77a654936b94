"""A temporary copy of the project, and the pipeline run in it from nothing.

It shares no cache, no run-cache and no MLflow store with the project, and only reads from it.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator
from functools import cached_property
from operator import itemgetter
from pathlib import Path

from pipeline import git
from pipeline.errors import UserError
from pipeline.verification import lock
from pipeline.verification.lock import Out, Stages

TAIL = 20  # lines of a stage that failed
OTHER_STORE = re.compile(rb"(?m)^(tracking:\n(?: .*\n)*? +uri:)(?!.*MLFLOW_TRACKING_URI).*$")
FOREIGN = ("DVC_", "MLFLOW_")  # variables that begin so are about the user's project


class Reproduction:
    """A copy of the project in `folder`, which is empty at first."""

    def __init__(self, folder: Path, threads: int | None = None):
        self._root = Path.cwd()
        self._folder = folder
        self._clone = folder / "project"
        self.project = self._clone / git.run("rev-parse", "--show-prefix").strip()
        self._environment = {
            k: v for k, v in git.environment().items() if not k.startswith(FOREIGN)
        } | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "DVC_SITE_CACHE_DIR": str(folder / "dvc"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc"),
            "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc"),
        }
        if threads:
            self._environment["TF_NUM_INTEROP_THREADS"] = str(threads)

    def clone(self, commit: str, *, workspace: bool) -> None:
        """Check out a commit, or copy the workspace's files that git tracks or could track."""
        top, clone = git.run("rev-parse", "--show-toplevel").rstrip("\n"), str(self._clone)
        no_hooks = ("--template=", f"--config=core.hooksPath={os.devnull}")
        git.run("clone", "--quiet", "--no-checkout", "--shared", *no_hooks, top, clone)
        if not workspace:
            git.run("-C", clone, "checkout", "--quiet", "--detach", commit)
        for name in git.workspace_files() if workspace else ():
            target = self.project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._root / name, target, follow_symlinks=False)
        local = self.project / ".dvc/config.local"
        local.parent.mkdir(parents=True, exist_ok=True)
        content = "[cache]\n    dir = cache\n"  # whatever .dvc/config says
        local.write_text(content, encoding="utf-8")
        conf = self.project / "conf/config.yaml"
        if conf.exists():
            conf.write_bytes(OTHER_STORE.sub(rb"\1 sqlite:///mlflow.db", conf.read_bytes()))

    def start_from_nothing(self, stages: Stages, results: list[Out], stage: str | None) -> None:
        """Remove all results; copy the raw files into the clone, or all that `stage` reads.

        Raises
        ------
        UserError
            If a file that `stage` reads cannot be found.
        """
        (self.project / lock.NAME).rename(self._folder / lock.NAME)
        for out in results:
            made, kept = self.project / out.path, self._folder / "expected" / out.path
            if stage in (None, out.stage) and made.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                made.rename(kept)
        reads = {dep["path"] for dep in stages[stage].get("deps", [])} if stage else set()
        for out in results:
            if out.path in reads:
                self._supply(out, required=True)
            elif out.stage == "download" and stage in (None, "download"):
                self._supply(out, required=False)

    def _supply(self, out: Out, *, required: bool) -> None:
        """Copy an out into the project: a link would share its mode with the user's file."""
        source, target = self.find(out), self.project / out.path
        if required and not source:
            raise UserError(
                f"{out.path}: no file with the MD5 {out.md5} is in the workspace or in DVC's "
                "cache: run `dvc repro`, or verify without stage="
            )
        source = source or self._root / out.path  # download checks what is there by its SHA-256
        if source.exists() and source != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)

    def find(self, out: Out) -> Path | None:
        """Return a file with the bytes of an out, from the commit, the workspace or DVC's cache."""
        for folder in (self._folder / "expected", self.project, self._root):
            if md5(folder / out.path) == out.md5:
                return folder / out.path
        cached = self._cache / out.md5[:2] / out.md5[2:]
        return cached if md5(cached) == out.md5 else None

    @cached_property
    def _cache(self) -> Path:
        """DVC's cache of the user's project."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir"],
            env=os.environ | {"DVC_SITE_CACHE_DIR": str(self._folder / "dvc")},
            capture_output=True,
            check=False,
        )
        return Path(os.fsdecode(done.stdout).strip() or ".dvc/cache") / "files/md5"

    def run(self, stage: str | None) -> Generator[str]:
        """Run the pipeline, or one stage; yield the name of each stage as it starts.

        Raises
        ------
        UserError
            With the last lines of a stage that fails.
        """
        command = [sys.executable, "-m", "dvc", "repro", "--no-commit", "--no-run-cache"]
        process = subprocess.Popen(
            command + (["--single-item", stage] if stage else []),
            cwd=self.project,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that all of it can be ended
        )
        assert process.stdout is not None
        tail: deque[str] = deque(maxlen=TAIL)
        try:
            for line in process.stdout:
                tail.append(line)
                if line.startswith("Running stage"):
                    yield line.split("'")[1]
            if process.wait():
                raise UserError("`dvc repro` has failed:\n" + "".join(tail).rstrip())
        finally:
            if process.poll() is None:  # nothing in it is worth an orderly end
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def md5(path: Path) -> str:
    """Return the MD5 of a file or a folder, as DVC does; nothing if there is none."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        found = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
        listed = json.dumps(sorted(found, key=itemgetter("relpath")), sort_keys=True)
        return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return ""
