"""A tracking server that dies in the middle of a training and comes back."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Project, make_project, port
from tests.test_tracking import runs, server

__all__ = ["port"]

EPOCHS = 2500  # they last until the recorder asks the server again
OPTIONS = (
    *("--workers", "1", "--backend-store-uri", "sqlite:///server.db"),
    *("--artifacts-destination", "artifacts"),
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(tmp_path / "project", train=2000)
    made.repro()
    made.edit("params.yaml", "epochs: 3", f"epochs: {EPOCHS}")
    return made


def lines(process: "subprocess.Popen[str]", until: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if line.startswith(until):
            return


@pytest.mark.parametrize("back", ["while it trains", "after the end"])
def test_the_record_is_complete_in_the_end(project: Project, port: int, back: str) -> None:
    uri = f"http://127.0.0.1:{port}"

    def serve() -> AbstractContextManager[None]:
        return server(project, port, "mlflow", "server", *OPTIONS)

    with serve():
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.folder,
            env=project.environment(MLFLOW_TRACKING_URI=uri, PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        output = list(lines(process, until="epoch 100/"))
    try:
        if back == "while it trains":
            output += lines(process, until="epoch 200/")
            with serve():
                output += process.communicate()[0]
                check(project, uri)
        else:
            output += process.communicate()[0]
            said = "".join(output)
            assert f"MLflow at {uri} has no complete record of this run: " in said
            assert "`python -m pipeline.record` completes the record" in said
            with serve():
                project.stage("record", MLFLOW_TRACKING_URI=uri)
                check(project, uri)
                project.stage("record", MLFLOW_TRACKING_URI=uri)
                check(project, uri)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0


def check(project: Project, uri: str) -> None:
    client = MlflowClient(uri)
    found = runs(project, uri)
    assert {run.info.status for run in found} <= {"FINISHED", "KILLED"}
    (run,) = [run for run in found if run.info.status == "FINISHED"]
    for name in ("loss", "val_accuracy"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, EPOCHS + 1))
    assert len(client.get_metric_history(run.info.run_id, "test_loss")) == 1
    assert len(client.list_artifacts(run.info.run_id, "plots")) == 5
    assert run.data.params["train.epochs"] == str(EPOCHS)
