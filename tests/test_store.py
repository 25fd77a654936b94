"""Where the record is kept: beside its store, wherever that is, and what is said when it is not."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.errors import first_line
from pipeline.settings.schema import Tracking
from pipeline.tracking.client import Client
from pipeline.tracking.run import Run
from tests.commands.session import fork_recorders
from tests.conftest import ROOT, Project


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the experiment `e`, and a run."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        fork_recorders(patch)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(folder)
        record(folder)
    return folder / "mlflow.db"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is not the store's."""
    folder = tmp_path / "a project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fork_recorders(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return folder


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def record(folder: Path, name: str = "a run") -> str:
    """Record a run with an artifact; return its id."""
    tracking = Tracking(uri=f"sqlite:///{folder / 'mlflow.db'}", experiment="e", timeout=5)
    run = Run(Client(tracking, folder))
    run.begin(name, {"pipeline.place": "."})
    Path("a file.txt").write_text(name, encoding="utf-8")
    run.files([Path("a file.txt")])
    run.end("FINISHED")
    run_id = run.id()
    run.client.close()
    return run_id


def text(folder: Path, run_id: str) -> str:
    """Return the artifact of a run, as MLflow finds it."""
    return Path(client(folder).download_artifacts(run_id, "a file.txt")).read_text(encoding="utf-8")


def test_artifacts_stay_beside_a_store_that_is_moved_or_copied(tmp_path: Path, here: Path) -> None:
    first, moved, copied = (tmp_path / name for name in ("first", "moved", "José (1)"))
    first.mkdir()
    (first / "dvc.yaml").touch()
    one = record(first, "one")
    assert [path.name for path in (first / "mlruns").iterdir()] == [one]
    assert [path.name for path in here.iterdir()] == ["a file.txt"]

    first.rename(moved)
    two = record(moved, "two")
    assert (text(moved, one), text(moved, two)) == ("one", "two")
    assert not first.exists()

    shutil.copytree(moved, copied)
    three = record(copied, "three")
    assert [text(copied, run) for run in (one, two, three)] == ["one", "two", "three"]
    assert not (moved / "mlruns" / three).exists()
    shutil.rmtree(copied / "mlruns" / one)
    assert (text(moved, one), text(moved, two)) == ("one", "two")
    assert {path.name for path in tmp_path.iterdir()} == {"a project", "moved", "José (1)"}


@pytest.mark.slow
def test_artifacts_that_are_lost_are_said_and_a_folder_of_ones_own_stays(
    tmp_path: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_id = record(here)
    folder = tmp_path / "mlruns"  # of no project: somebody has chosen it
    folder.mkdir()
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (folder.as_uri(),))
    inside = record(here, "two")
    assert (folder / inside).exists()

    logged = client(here).create_logged_model("1", "model", run_id)
    assert logged.artifact_location.startswith(folder.as_uri())
    folder.rmdir() if not any(folder.iterdir()) else shutil.rmtree(folder)
    capfd.readouterr()
    record(here)
    assert "the artifacts of 1 earlier runs are neither there nor in" in capfd.readouterr().err
    assert text(here, run_id) == "a run"
    assert not folder.exists()


def problem(folder: Path, **settings: Any) -> str:
    tracking = Tracking(uri=f"sqlite:///{folder / 'mlflow.db'}", experiment="e", timeout=5)
    run = Run(Client(tracking.model_copy(update=settings), folder))
    run.begin("b", {"pipeline.place": "."})
    run.id()
    run.client.close()
    return run.problem


def test_a_deleted_experiment_is_named_with_its_remedy(
    here: Path, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(store, here)
    client(here).delete_experiment("1")
    reason = problem(here)
    restore = f"MLFLOW_TRACKING_URI='sqlite:///{here / 'mlflow.db'}' mlflow experiments restore"
    assert reason == (
        f"the experiment 'e' has been deleted there: `{restore} --experiment-id 1` brings it back; "
        "tracking.experiment=NAME takes another"
    )
    assert reason in caplog.text
    assert "once the store answers" not in caplog.text
    client(here).restore_experiment("1")
    assert problem(here) == ""


def test_a_reason_keeps_its_remedy(here: Path, store: Path) -> None:
    shutil.copy(store, here)
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    assert "mlflow db upgrade" in problem(here)
    assert first_line(ValueError(f"{'x' * 5000}: do this")).endswith(": do this")
    assert len(first_line(ValueError("x" * 5000))) < 1000


def test_a_variable_of_mlflow_is_honoured_or_said(
    project: Project,
    here: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    composed = project.stage(
        "train", "--cfg", "job", "--resolve", MLFLOW_TRACKING_URI="", MLFLOW_EXPERIMENT_NAME="mine"
    ).stdout
    assert "  uri: sqlite:///mlflow.db\n  experiment: mine\n" in composed
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    shutil.copy(store, here)
    record(here)
    said = "MLFLOW_EXPERIMENT_ID is not read: the record goes to the experiment 'e'"
    assert said in caplog.text
