"""How many kills, from which seed, and the project that they hit."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from crash import kill
from tests.conftest import Project, make_project, once

KILLS = int(os.environ.get("KILLS") or 100)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
os.environ["SEED"] = str(SEED)  # the workers of pytest-xdist, which start later, take it over
STAGES = ("download", "preprocess", "train", "evaluate", "plot")
EPOCHS = 50
PARAMS = {"epochs: 3": f"epochs: {EPOCHS}", "batch_size: 16 ": "batch_size: 256 "}
LIFETIMES = "seconds.json"  # how long each stage runs


def pytest_report_header() -> str:
    return f"the same kills again: make crash KILLS={KILLS} SEED={SEED}"


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project in which everything has run; note how many seconds each stage took."""

    def make(folder: Path) -> None:
        project = make_project(folder / "project", train=4000, test=1000, shape=(28, 28))
        for old, new in PARAMS.items():
            project.edit("params.yaml", old, new)
        seconds = lifetimes(project)
        (folder / LIFETIMES).write_text(json.dumps(seconds), encoding="utf-8")
        project.commit()
        shutil.rmtree(project / "mlruns")
        for path in project.folder.glob("mlflow.db*"):
            path.unlink()

    return once(tmp_path_factory, "run", make)


@pytest.fixture
def seconds(run_once: Path) -> dict[str, float]:
    """Return how many seconds each stage runs if nobody kills it."""
    return dict(json.loads((run_once / LIFETIMES).read_text(encoding="utf-8")))


@pytest.fixture
def project(run_once: Path, tmp_path: Path) -> Project:
    """Copy the project in which everything has run, without its MLflow record."""
    shutil.copytree(run_once / "project", tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def lifetimes(project: Project) -> dict[str, float]:
    """Run the whole pipeline without a kill; return how many seconds each stage ran."""
    process, found = project.start("dvc", "repro"), {}
    for stage in STAGES:
        one = kill.find(process, f"pipeline.{stage}")
        assert one, f"{stage} did not run: {process.communicate()}"
        started = time.monotonic()
        while kill.is_alive(one):
            time.sleep(kill.POLL_SECONDS)
        found[stage] = time.monotonic() - started
    output = process.communicate()
    assert process.returncode == 0, output
    return found
