"""Sweeps on a real Slurm, recorded by a real MLflow server: `python -m pytest cluster`."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cluster import one_node, packages
from cluster.processes import output
from tests.conftest import Project, make_project

pytestmark = pytest.mark.timeout(900)  # the packages may have to be installed
SMALL = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
LONG = "train.epochs=2000"
OPEN = "attributes.status = 'RUNNING'"


class Cluster:
    """A project on the cluster; methods start its sweeps and look at them."""

    def __init__(self, project: Project, variables: dict[str, str]):
        self.project, self.variables = project, variables
        self.client = MlflowClient(variables["MLFLOW_TRACKING_URI"])

    def begin(self, *overrides: str) -> subprocess.Popen[str]:
        """Begin a sweep as a user does."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.train", "-m", *SMALL, *overrides],
            cwd=self.project.folder,
            env=self.project.environment(**self.variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def running(self, number: int, count: int) -> str:
        """Wait until a trial of the latest sweep trains, and MLflow says so; return the Slurm job.

        Before the first of `count` trials has ended.
        """
        runs = f"tags.kind = 'trial' and tags.`pipeline.place` LIKE '%/{number}'"

        def trains() -> bool:
            jobs = output("squeue", "--noheader", "--array").splitlines()
            return len(jobs) == count and bool(self._find(f"{runs} and {OPEN}"))

        _await(trains)
        return output("squeue", "--noheader", "--format=%F").split()[0]

    def _find(self, what: str) -> list[Run]:
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, what))

    def sweep(self, printed: str) -> tuple[str, Counter[str]]:
        """Return the status of a sweep's MLflow run, and its trials in each status."""
        folder = self.project / printed.split("All of it is in ")[1].splitlines()[0]
        parent = self.client.get_run(
            json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["run_id"]
        )
        children = self._find(f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
        return parent.info.status, Counter(child.info.status for child in children)


def _await(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster; give it a project with its data, in a folder with a space in its name."""
    if obstacle := packages.obstacle():
        pytest.skip(obstacle)  # the obstacle names what is missing: root, Debian, or its packages
    project = make_project(tmp_path_factory.mktemp("cluster") / "my project")
    project.stage("download")
    project.stage("preprocess")
    variables = one_node.start()
    yield Cluster(project, variables)
    one_node.stop()


def _statuses(printed: str) -> dict[str, int]:
    """Return the number of trials in each status, from the printed table."""
    _, table = re.split(
        r"\n(?:rank +)?trial +overrides", printed, maxsplit=1
    )  # of one setting, no rank
    table = table.partition("\n\n")[0]
    return Counter(row.split()[-1] for row in table.splitlines()[1:])


def test_a_cancelled_job_takes_only_its_own_trial_and_the_same_command_makes_it(
    cluster: Cluster,
) -> None:
    """Eight trials, of which one is cancelled while it trains."""
    command = ("train.learning_rate=0.01,0.02,0.05,0.1", "seed=0,1", LONG)
    first = cluster.begin(*command)
    job = cluster.running(1, count=8)
    subprocess.run(["scancel", f"{job}_1"], check=True)
    printed, _ = first.communicate()
    assert first.returncode == 1, printed
    assert _statuses(printed) == {"FINISHED": 7, "KILLED": 1}
    assert f"Slurm job {job}_1 CANCELLED" in printed
    killed = f"train: trial 1 (learning_rate=0.01 seed=1) KILLED: Slurm job {job}_1"
    assert killed in printed
    assert cluster.sweep(printed) == ("FAILED", {"FINISHED": 7, "KILLED": 1})

    again = cluster.begin(*command)
    printed, _ = again.communicate()
    assert again.returncode == 0, printed
    assert _statuses(printed) == {"FINISHED": 8}
    status, trials = cluster.sweep(printed)
    assert (status, trials["FINISHED"]) == ("FINISHED", 8)
    assert trials.total() == 8 + trials["KILLED"] <= 9  # or it goes on in its run


def test_trials_that_die_without_a_word_are_killed_ones(cluster: Cluster) -> None:
    """One is killed while it trains; one is cancelled before it starts."""
    sweep = cluster.begin("seed=10,11,12", LONG)
    job = cluster.running(0, count=3)
    subprocess.run(["scancel", f"{job}_2"], check=True)
    subprocess.run(["scancel", "--signal=KILL", f"{job}_0"], check=True)
    printed, _ = sweep.communicate()
    assert sweep.returncode == 1, printed
    assert _statuses(printed) == {"FINISHED": 1, "KILLED": 2}
    assert cluster.sweep(printed) == ("FAILED", {"FINISHED": 1, "KILLED": 1})


def test_an_interruption_cancels_the_jobs(cluster: Cluster) -> None:
    """Nothing is left in the queue, and no run is left open."""
    sweep = cluster.begin("seed=20,21,22", LONG)
    cluster.running(0, count=3)
    sweep.send_signal(signal.SIGINT)
    printed, _ = sweep.communicate()
    assert sweep.returncode == 130, printed
    assert not output("squeue", "--noheader")
    assert _statuses(printed) == {"KILLED": 3}
    status, children = cluster.sweep(printed)
    assert status == "KILLED"
    assert set(children) == {"KILLED"}
