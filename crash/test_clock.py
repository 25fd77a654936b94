"""The clock is set back by a day: runs, sweeps and DVC keep their order and their results."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Project, make_project
from tests.test_sweep import trials
from tests.test_tracking import runs


class Clock:
    """A wall clock that only processes with its environment variables see."""

    def __init__(self, library: Path):
        self.file = library.with_name("set back")
        self.variables = {"LD_PRELOAD": str(library), "SET_BACK": str(self.file)}

    def set_back(self) -> None:
        self.file.touch()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    library = tmp_path / "clock.so"
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("a C compiler on Linux is needed, to give processes another clock")
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    made = Clock(library)
    made.set_back()
    command = [sys.executable, "-c", "import time; print(time.time())"]
    done = subprocess.run(command, env=os.environ | made.variables, capture_output=True, check=True)
    assert time.time() - float(done.stdout) > 80_000
    made.file.unlink()
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


def follow(project: Project, clock: Clock, *command: str, until: str) -> str:
    """Run a command, set the clock back when it prints a certain line, and return its output."""
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment(PYTHONUNBUFFERED="1", **clock.variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith(until):
            clock.set_back()
    assert process.wait() == 0, output
    assert "Traceback" not in output
    return output


def test_runs_keep_their_order_and_length(project: Project, clock: Clock) -> None:
    project.edit("params.yaml", "epochs: 3", "epochs: 500")
    project.repro()
    project.commit()
    lock = (project / "dvc.lock").read_bytes()
    project.edit("params.yaml", "seed: 0", "seed: 1")
    output = follow(project, clock, "dvc", "repro", until="epoch   2/")
    assert "no complete record" not in output
    project.edit("params.yaml", "seed: 1", "seed: 0")
    project.run("dvc", "repro", **clock.variables)
    assert (project / "dvc.lock").read_bytes() == lock
    assert project.run("git", "status", "--porcelain").stdout == ""
    project.edit("pipeline/report/figures.py", '"Epoch"', '"epoch"')
    assert project.repro() == ["plot"]

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    found = runs(project)
    assert len(found) == 3
    for run in found:
        assert run.info.status == "FINISHED"
        assert run.info.end_time >= run.info.start_time
        assert len(client.list_artifacts(run.info.run_id, "plots")) == 5
        assert len(client.get_metric_history(run.info.run_id, "test_loss")) == 1
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        assert sorted(steps) == list(range(1, 501))
        assert run.data.metrics["loss"] == next(
            point.value
            for point in client.get_metric_history(run.info.run_id, "loss")
            if point.step == 500
        )


def test_the_latest_sweep_is_promoted(project: Project, clock: Clock) -> None:
    project.repro()
    project.stage("train", "-m", "seed=1,2")
    (earlier,) = (project / "multirun").glob("*/sweep.json")
    command = (sys.executable, "-m", "pipeline.train", "-m", "train.learning_rate=0.2,0.3")
    follow(project, clock, *command, until="trial 0")
    (later,) = set((project / "multirun").glob("*/sweep.json")) - {earlier}
    os.utime(later, (0, 0))
    assert all(0 < (one.seconds or 0) < 1000 for one in trials(project))
    project.stage("promote")
    assert "learning_rate: 0.1" not in (project / "params.yaml").read_text(encoding="utf-8")
    assert "seed: 0" in (project / "params.yaml").read_text(encoding="utf-8")
