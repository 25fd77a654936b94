"""A project in a temporary git and DVC repository, on a small data set, as a user has it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.commands.session import forked, inherited
from tests.idx_files import FILES, SHAPE, write_split_files

ROOT = Path(__file__).parent.parent
COPIED = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "conf",
    "dvc.yaml",
    "hydra_plugins",
    "own",
    "params.yaml",
    "pipeline",
    "pyproject.toml",
    "requirements.txt",
)
IDENTITY = {  # for commits, as the user may have none
    f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
PARAMS = """\
# What differs between experiments.
dataset: tiny                  # a file of conf/dataset/
model: logistic_regression
optimizer: sgd
seed: 0
train:
  epochs: 3
  batch_size: 16               # null: the whole training set in every step
  learning_rate: 0.1
  validation_size: 40
  schedule: constant
  patience: null
"""


class Project:
    """A folder with the pipeline in it, and commands run there as a user runs them."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def run(
        self, *command: str, code: int | None = 0, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment; check its exit code unless that is None.

        It is forked from a process that has imported what it imports, as is what it starts; see
        `tests.commands`. COLD="1" starts it from nothing.
        """
        done = subprocess.run(
            **forked(command, self.environment(**environment)),
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the project's commands."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return inherited() | {"PATH": path, "GIT_CONFIG_GLOBAL": os.devnull} | IDENTITY | more

    def start(self, *command: str, killed: bool = True, **options: Any) -> "subprocess.Popen[str]":
        """Start a command as the first process of a group; its output is `subprocess.run`'s.

        It is not forked if it is `killed`, stopped or interrupted.
        """
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(
            **forked(command, self.environment(**({"COLD": "1"} if killed else {}))),
            cwd=self.folder,
            encoding="utf-8",
            start_new_session=True,
            **settings,
        )

    def stage(
        self, name: str, *overrides: str, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a stage by hand."""
        return self.run(sys.executable, "-m", f"pipeline.{name}", *overrides, **options)  # type: ignore[arg-type]

    def repro(self, *targets: str, **options: object) -> list[str]:
        """Run `dvc repro`; return the stages that ran, in order."""
        lines = self.run("dvc", "repro", *targets, **options).stdout.splitlines()  # type: ignore[arg-type]
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file."""
        text = (self / name).read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        (self / name).write_text(text.replace(old, new), encoding="utf-8")

    def commit(self) -> None:
        """Commit everything."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "change")


def make_project(folder: Path, **data: object) -> Project:
    """Copy the pipeline into a folder, with a small data set, and commit it."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    source = folder.parent / f"{folder.name} source"
    hashes = write_split_files(source, **({"train": 200, "test": 80} | data))  # type: ignore[arg-type]
    dataset = {
        "name": "tiny",
        "reader": "idx",
        "options": {"train": FILES[:2], "test": FILES[2:]},
        "classes": ["ant", "bee", "cat"],
        "shape": list(data.get("shape", SHAPE)),  # type: ignore[call-overload]
        "split": "files",
        "validation": "last",
        "scale": "bytes",
        "max_bytes": 10_000_000,
        "files": hashes,
        "sources": [{"folder": str(source)}],
    }
    (folder / "conf/dataset/tiny.yaml").write_text(
        yaml.safe_dump(dataset, sort_keys=False), encoding="utf-8"
    )
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    project = Project(folder)
    project.run("git", "init", "-q")
    project.run("git", "config", "maintenance.auto", "false")  # works on while it is copied
    project.commit()
    return project
