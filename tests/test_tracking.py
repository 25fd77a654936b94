"""The MLflow record: read back through MLflow's own client, UI server and model server."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from pipeline.files import sha256
from pipeline.settings.schema import Tracking
from pipeline.tracking import run as record
from pipeline.tracking.client import Client
from tests.commands.session import fork_recorders
from tests.conftest import ROOT, Project
from tests.defaults import EXPERIMENT


def runs(project: Project, uri: str = "") -> list[Run]:
    """Return the runs of the project's store, the latest first."""
    client = mlflow.MlflowClient(uri or f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id])


def promised(project: Project) -> str:
    """Return on which machines the latest run promises the same bits."""
    return str(runs(project)[0].data.tags["pipeline.same_bits_on"])


def artifacts(project: Project, run: Run, folder: str = "") -> list[str]:
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    return sorted(item.path for item in client.list_artifacts(run.info.run_id, folder))


@contextmanager
def server(project: Project, port: int, *command: str) -> Iterator[None]:
    """Run an MLflow server until the block ends; wait until it answers."""
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(900):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None, "the server has stopped"
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        return str(response.read().decode())


def post(port: int, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def start(project: Project, *overrides: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a training that takes long enough to be interrupted; wait for its second epoch."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.train", "train.epochs=100000", *overrides],
        cwd=project.folder,
        env=project.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch   2/"):
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_one_run_a_pipeline_run(reproduced: Project) -> None:
    (run,) = runs(reproduced)
    assert run.info.status == "FINISHED"
    evaluation = json.loads((reproduced / "metrics/evaluation.json").read_text(encoding="utf-8"))
    tested = {name: value for name, value in run.data.metrics.items() if name.startswith("test_")}
    assert tested == {f"test_{name}": value for name, value in evaluation.items()}
    tags = run.data.tags
    assert tags["weights_sha256"] == sha256(reproduced / "models/weights.npz")
    assert tags["data_sha256"] == sha256(reproduced / "data/processed/x_train.npy")
    assert tags["lock_sha256"] == sha256(reproduced / "requirements.txt")
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["git_dirty"] == "false"
    for name in ("tensorflow", "python", "processor"):
        assert tags[name]
    assert sorted(name for name in tags if not name.startswith(("mlflow.", "pipeline."))) == [
        "data_sha256",
        "git_dirty",
        "kind",
        "labels_sha256",
        "lock_sha256",
        "processor",
        "python",
        "tensorflow",
        "weights_sha256",
    ]
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "tiny"
    assert tags["data_sha256"].startswith(data.dataset.digest)
    assert artifacts(reproduced, run) == [
        "classes.csv",
        "config.yaml",
        "evaluation.json",
        "history.csv",
        "mistakes.csv",
        "plots",
        "predictions.csv",
        "weights.npz",
    ]
    assert len(artifacts(reproduced, run, "plots")) == 5


def test_metrics_of_every_epoch(reproduced: Project) -> None:
    (run,) = runs(reproduced)
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    rows = [
        line.split(",") for line in (reproduced / "metrics/history.csv").open(encoding="utf-8")
    ][1:]
    for column, name in enumerate(("loss", "accuracy", "val_loss", "val_accuracy"), start=1):
        logged = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in logged] == [1, 2, 3]
        written = [float(row[column]) for row in rows]
        assert [metric.value for metric in logged] == pytest.approx(written, rel=1e-8)


def test_a_bare_mlflow_ui_shows_the_run(reproduced: Project, port: int) -> None:
    experiment_id = runs(reproduced)[0].info.experiment_id
    assert reproduced.stage("record").stdout.endswith(
        "To look at it: `mlflow ui`, then http://127.0.0.1:5000/"
        f"#/experiments/{experiment_id}/runs?workflowType=machine_learning\n"
    )
    with server(reproduced, port, "mlflow", "ui", "--workers", "1"):
        page = get(port, "/")
        (script,) = re.findall(r'src="(static-files/static/js/main[^"]*)"', page)
        code = get(port, f"/{script}")  # it reads what stands after the `#`
        assert "workflowType" in code
        assert "machine_learning" in code
        body = {"experiment_ids": [experiment_id]}
        found = post(port, "/api/2.0/mlflow/runs/search", body)["runs"]
        ours = [run.info.run_id for run in runs(reproduced)]
        assert [item["info"]["run_id"] for item in found] == ours
        for address in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
            if address != "127.0.0.1":  # this machine only, and of it one address
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, port), timeout=5)


INTERRUPTED = "train: interrupted: the same command goes on where it was\n"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGKILL, -9),
    ],
)
def test_an_interrupted_run_is_killed(reproduced: Project, number: int, code: int) -> None:
    before = (reproduced / "models/weights.npz").read_bytes()
    process = start(reproduced)
    kill = os.killpg if number in (signal.SIGHUP, signal.SIGINT) else os.kill
    kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors == (INTERRUPTED if number == signal.SIGINT else "")
    for _ in range(50):  # the recorder outlives a stage that was killed, for a moment
        run = runs(reproduced)[0]
        if run.info.status != "RUNNING":
            break
        time.sleep(0.2)
    assert run.info.status == "KILLED"
    assert run.data.metrics["loss"] > 0  # logged while it ran
    assert (reproduced / "models/weights.npz").read_bytes() == before


def test_a_diverged_run_is_failed(reproduced: Project) -> None:
    before = (reproduced / "models/weights.npz").read_bytes()
    done = reproduced.stage("train", "train.learning_rate=1e38", code=1)
    assert done.stderr == (
        "train: loss is inf in epoch 1: training has diverged; lower train.learning_rate (1e+38)\n"
    )
    assert runs(reproduced)[0].info.status == "FAILED"
    assert "diverged" in runs(reproduced)[0].data.tags["error"]
    assert (reproduced / "models/weights.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "override", "remedy"),
    [
        ("http://127.0.0.1:9", "tracking.timeout=2", "`python -m pipeline.record`"),
        ("sqlite:////proc/nowhere/mlflow.db", "seed=0", "the same command"),
    ],
)
def test_a_store_out_of_reach_costs_seconds_and_no_results(
    reproduced: Project, uri: str, override: str, remedy: str
) -> None:
    weights = (reproduced / "models/weights.npz").read_bytes()
    (reproduced / "models/weights.npz").unlink()
    started = time.monotonic()
    done = reproduced.stage("train", override, MLFLOW_TRACKING_URI=uri)
    assert time.monotonic() - started < 60
    assert (reproduced / "models/weights.npz").read_bytes() == weights
    assert f"MLflow at {uri} has no complete record of this run: " in done.stdout
    assert f"once that is mended, {remedy} completes the record" in done.stdout
    for stage in ("evaluate", "plot") if uri.startswith("http") else ():
        reproduced.stage(stage, "tracking.timeout=1", MLFLOW_TRACKING_URI=uri)
    assert len(runs(reproduced)) == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_server_that_comes_back_gets_the_whole_record(reproduced: Project, port: int) -> None:
    uri = f"http://127.0.0.1:{port}"
    command = (
        "mlflow",
        "server",
        "--workers",
        "1",
        "--backend-store-uri",
        "sqlite:///server.db",
        "--serve-artifacts",
        "--artifacts-destination",
        "artifacts",
    )
    with server(reproduced, port, *command):
        process = start(reproduced, MLFLOW_TRACKING_URI=uri)
    time.sleep(1)
    process.send_signal(signal.SIGSTOP)  # not the recorder; else it keeps a processor busy
    with server(reproduced, port, *command):
        process.send_signal(signal.SIGCONT)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)
        run = runs(reproduced, uri)[0]
        assert run.info.status == "KILLED"
        steps = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "loss")
        assert [metric.step for metric in steps] == list(range(1, len(steps) + 1))


def test_a_trial_whose_run_cannot_be_begun_writes_into_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    fork_recorders(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    process = Client(Tracking(uri=uri, experiment="e", timeout=5), tmp_path)
    sweep, refused, late, trial = (record.Run(process) for _ in range(4))
    tags, in_the_way = {"pipeline.place": "."}, tmp_path / "in the way"
    in_the_way.touch()
    sweep.begin("sweep", tags)
    refused.begin("refused", tags, lock=str(in_the_way / "lock"))
    late.begin("late", tags, lock=str(in_the_way / "lock"))
    trial.begin("trial", tags)
    for value, run in enumerate((refused, late, trial)):
        run.metrics({"loss": value}, 1)
        run.end("FINISHED")
    assert not refused.id()
    assert "File exists" in refused.problem
    assert len({sweep.id(), trial.id()} - {""}) == 2
    refused.metrics({"loss": 4.0}, 2)
    in_the_way.unlink()
    process.close()  # as the process that has begun the sweep has died
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("e")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: (run.info.status, run.data.metrics) for name, run in found.items()} == {
        "sweep": ("KILLED", {}),
        "late": ("FINISHED", {"loss": 1.0}),
        "trial": ("FINISHED", {"loss": 2.0}),
    }
    assert "has no complete record of this run: " in caplog.text


def test_results_without_a_run_get_one(reproduced: Project) -> None:
    reproduced.run("rm", "-rf", "mlflow.db", "mlruns")
    assert reproduced.repro() == []
    done = reproduced.stage("record")
    assert "MLflow has the run 'lr=0.1 batch=16 seed=0 sgd logistic_regression tiny'" in done.stdout
    (run,) = runs(reproduced)
    assert run.info.status == "FINISHED"
    assert run.data.tags["restored"] == "true"
    assert set(run.data.metrics) == {
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "test_loss",
        "test_accuracy",
        "test_accuracy_low",
        "test_accuracy_high",
        "test_macro_precision",
        "test_macro_recall",
        "test_macro_f1",
        "test_brier_score",
        "test_expected_calibration_error",
        "test_examples",
    }
    assert len(artifacts(reproduced, run, "plots")) == 5
    reproduced.stage("record")
    assert len(runs(reproduced)) == 1


@pytest.mark.slow
def test_a_repeated_experiment_is_run_and_recorded_again(reproduced: Project) -> None:
    reproduced.edit("params.yaml", "seed: 0", "seed: 1")
    assert reproduced.repro("evaluate") == ["train", "evaluate"]
    reproduced.edit("params.yaml", "seed: 1", "seed: 0")
    assert reproduced.repro("evaluate") == ["train", "evaluate"]
    hashes = [run.data.tags["weights_sha256"] for run in runs(reproduced)]
    assert len(hashes) == 3
    assert hashes[0] == hashes[2] != hashes[1]
    assert all("test_accuracy" in run.data.metrics for run in runs(reproduced))


@pytest.mark.slow
def test_two_trainings_can_make_a_store_at_once(reproduced: Project, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'new.db'}"
    command = [sys.executable, "-m", "pipeline.train"]
    both = [
        subprocess.Popen(
            [*command, f"paths.output={tmp_path / name}"],
            cwd=reproduced.folder,
            env=reproduced.environment(MLFLOW_TRACKING_URI=store),
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for name in "ab"
    ]
    for process in both:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert "no complete record" not in output
    assert [run.info.status for run in runs(reproduced, store)] == ["FINISHED", "FINISHED"]


def test_a_store_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    settings = {"uri": "sqlite:///mlflow.db", "experiment": "e", "timeout": 10}
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.tracking.recorder"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as recorder:
        assert recorder.stdin
        print(json.dumps(settings), file=recorder.stdin, flush=True)
        while not (tmp_path / "mlflow.db").exists():
            assert recorder.poll() is None
            time.sleep(0.001)
        recorder.kill()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert ("Default",) in database.execute("SELECT name FROM experiments").fetchall()
