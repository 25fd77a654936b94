"""What a person sees first on a run's page in MLflow."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from pipeline.files import sha256
from pipeline.record import way_to
from pipeline.tracking import description
from tests.conftest import Project
from tests.defaults import EXPERIMENT

NOTE = "mlflow.note.content"
PAGE = "#/experiments/7/runs?workflowType=machine_learning"


def runs(project: Project, kind: str = "pipeline") -> list[Run]:
    """Return the runs of a kind in the project's store, the latest first."""
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


def commands(run: Run) -> list[str]:
    """Return the commands in a run's description."""
    (line,) = re.findall("Reproduce it with `(.*)`", run.data.tags[NOTE])
    return str(line).split(" && ")


def test_parameters_are_what_can_be_varied(reproduced: Project, tmp_path: Path) -> None:
    (run,) = runs(reproduced)
    assert run.info.run_name == "lr=0.1 batch=16 seed=0 sgd logistic_regression tiny"
    assert list(run.data.params.items()) == [  # as MLflow shows them
        ("train.learning_rate", "0.1"),
        ("train.epochs", "3"),
        ("train.batch_size", "16"),
        ("train.validation_size", "40"),
        ("train.schedule", "constant"),
        ("train.patience", "None"),
        ("seed", "0"),
        ("optimizer.name", "sgd"),
        ("optimizer.momentum", "0.0"),
        ("optimizer.nesterov", "False"),
        ("model.name", "logistic_regression"),
        ("model.weight", "1.0"),
        ("model.bias", "0.0"),
        ("model.l2", "0.0"),
        ("dataset.name", "tiny"),
        ("determinism", "portable"),
    ]
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    path = client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    dataset = yaml.safe_load((reproduced / "conf/dataset/tiny.yaml").read_text(encoding="utf-8"))
    assert config["dataset"] == dataset
    assert config["train"]["batch_size"] == 16


def test_the_description_says_how_to_reproduce_the_run(reproduced: Project) -> None:
    changed_and_described(reproduced)


@pytest.mark.slow
def test_the_description_reproduces_the_run(reproduced: Project, tmp_path: Path) -> None:
    shutil.copytree(reproduced.folder, tmp_path / "clone", symlinks=True)
    run = changed_and_described(reproduced)
    clone = Project(tmp_path / "clone")
    clone.run("bash", "-ec", "\n".join(commands(run)))
    assert sha256(clone / "models/weights.npz") == run.data.tags["weights_sha256"]


def changed_and_described(reproduced: Project) -> Run:
    """Reproduce other settings, and return their run, whose description was checked."""
    commit = reproduced.run("git", "rev-parse", "HEAD").stdout[:12]
    (first,) = runs(reproduced)
    assert "not committed" not in first.data.tags[NOTE]
    assert commands(first)[1:] == ["dvc repro"]
    reproduced.edit("params.yaml", "seed: 0", "seed: 1")
    reproduced.edit("params.yaml", "batch_size: 16 ", "batch_size: null ")
    (reproduced / "notes.txt").write_text("mine", encoding="utf-8")
    reproduced.repro("evaluate")
    run, scores = runs(reproduced)[0], runs(reproduced)[0].data.metrics
    assert run.data.tags[NOTE].splitlines()[0] == (
        f"Result: test accuracy {scores['test_accuracy']:.4f}, "
        f"test loss {scores['test_loss']:.4f}, "
        f"validation accuracy {scores['val_accuracy']:.4f}, "
        f"validation loss {scores['val_loss']:.4f}"
    )
    assert run.data.tags[NOTE].endswith("`; not committed were notes.txt")
    assert commands(run) == [
        f"git checkout {commit}",
        "dvc exp run -S seed=1 -S train.batch_size=null",
    ]
    return run


def test_descriptions_of_trials(reproduced: Project) -> None:
    values = "train.learning_rate=0.3,1e38"
    reproduced.stage("train", "-m", values, "model.bias=0.5", code=1)
    good, bad = sorted(runs(reproduced, "trial"), key=lambda run: run.info.status, reverse=True)
    (sweep,) = runs(reproduced, "sweep")
    accuracy = good.data.metrics["val_accuracy"]
    assert good.data.tags[NOTE].startswith(f"Result: validation accuracy {accuracy:.4f}, ")
    assert commands(good)[1:] == [
        "dvc repro preprocess",
        "python -m pipeline.train train.learning_rate=0.3 model.bias=0.5",
    ]
    assert bad.data.tags[NOTE].startswith("Result: FAILED, loss is inf in epoch 1")
    assert commands(sweep)[1:] == [
        "dvc repro preprocess",
        f"python -m pipeline.train -m {values} model.bias=0.5",
    ]
    best = f"trial 0, learning_rate=0.3: val_accuracy {accuracy:.4f}"
    assert sweep.data.tags[NOTE].startswith(f"Result: the best is {best}\n")
    assert next(iter(sweep.data.params)) == "sweep.overrides"


def test_what_a_person_has_written_stays(reproduced: Project) -> None:
    reproduced.stage("record")  # the fixture's run is of another folder
    run = runs(reproduced)[0]
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    client.set_tag(run.info.run_id, NOTE, "For the paper.")
    reproduced.stage("evaluate")
    first, *rest = runs(reproduced)[0].data.tags[NOTE].splitlines()
    assert first.startswith("Result: test accuracy ")
    assert rest == ["", "For the paper."]


def test_a_store_of_before_is_gone_on_with(reproduced: Project) -> None:
    reproduced.stage("record")
    with closing(sqlite3.connect(reproduced / "mlflow.db")) as database:
        database.execute("DELETE FROM metrics WHERE key LIKE 'test_macro_%'")
        database.execute("DELETE FROM latest_metrics WHERE key LIKE 'test_macro_%'")
        database.commit()
    reproduced.stage("record")
    run, *others = runs(reproduced)
    assert run.data.metrics["test_macro_f1"] > 0
    with closing(sqlite3.connect(reproduced / "mlflow.db")) as database:
        database.execute("UPDATE tags SET key = substr(key, 10) WHERE key LIKE 'pipeline.%'")
        database.execute("UPDATE runs SET status = 'RUNNING'")
        database.commit()
    for stage in ("train", "evaluate", "record"):
        done = reproduced.stage(stage)
        assert "no complete record" not in done.stdout
    new, *old = runs(reproduced)
    assert [one.info.run_id for one in old] == [one.info.run_id for one in (run, *others)]
    assert (new.info.status, new.data.tags["pipeline.latest"]) == ("FINISHED", "true")


@pytest.mark.parametrize(
    ("uri", "way"),
    [
        ("sqlite:///mlflow.db", f"`mlflow ui`, then http://127.0.0.1:5000/{PAGE}"),
        (
            "sqlite:////srv/our runs.db",
            "`mlflow ui --backend-store-uri 'sqlite:////srv/our runs.db'`, "
            f"then http://127.0.0.1:5000/{PAGE}",
        ),
        ("http://mlflow.example:5000", f"http://mlflow.example:5000/{PAGE}"),
        ("https://me:secret@mlflow.example/team/", f"https://mlflow.example/team/{PAGE}"),
    ],
)
def test_the_way_to_the_runs(uri: str, way: str) -> None:
    assert way_to(uri, "7") == way


def test_metrics_have_names_that_mlflow_takes() -> None:
    evaluation = {"loss": 0.5, "top 5 %": 0.9, "recall: é": 1, "note": "ours", "whole": True}
    metrics = description.test_metrics(evaluation)
    assert metrics == {"test_loss": 0.5, "test_top 5 _": 0.9, "test_recall_ é": 1}


def test_a_result_without_held_out_examples_is_of_the_training() -> None:
    metrics = {"loss": 0.25, "accuracy": 0.9}
    assert description.result(metrics) == "training accuracy 0.9000, training loss 0.2500"
