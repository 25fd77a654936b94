"""DVC's experiments, in the workspace and in its temporary copies, are in the workspace's store."""

import pytest
from mlflow.entities import Run

from tests.conftest import Project
from tests.test_tracking import artifacts, runs

ALL = ["classes.csv", "config.yaml", "evaluation.json", "history.csv", "mistakes.csv", "plots"]


@pytest.mark.slow
def test_an_experiment_has_one_name_and_its_record_stays(reproduced: Project) -> None:
    head = reproduced.run("git", "rev-parse", "HEAD").stdout.strip()
    (before,) = runs(reproduced)
    experiment = ("dvc", "exp", "run", "-S", "train.epochs=1")
    reproduced.run(*experiment, "-S", "seed=1", "--queue", "--name", "queued")
    reproduced.run("dvc", "exp", "run", "--run-all")
    reproduced.run(*experiment, "-S", "seed=2", "--temp", "--name", "aside")
    found = {run.data.tags.get("dvc_experiment"): run for run in runs(reproduced)}
    assert set(found) == {None, "queued", "aside"}
    assert found[None].data.tags == before.data.tags
    for name in ("queued", "aside"):
        run = found[name]
        assert (run.info.run_name.split()[0], run.info.status) == (name, "FINISHED")
        assert "test_accuracy" in run.data.metrics
        assert run.data.tags["mlflow.source.git.commit"] == head
        assert artifacts(reproduced, run)[: len(ALL)] == ALL
    assert "queued" in reproduced.run("dvc", "exp", "show", "--csv").stdout

    reproduced.run("dvc", "exp", "apply", "aside")
    reproduced.stage("record")
    assert len(runs(reproduced)) == 3
    reproduced.run(*experiment, "-S", "seed=3", "--name", "here", "evaluate")
    latest = runs(reproduced)[0]
    assert latest.data.tags["dvc_experiment"] == "here"
    assert latest.data.tags["pipeline.place"].endswith(f":{reproduced.folder}")


def test_a_training_by_hand_is_no_pipeline_run_until_it_is_evaluated(reproduced: Project) -> None:
    def kinds() -> list[str]:
        return [run.data.tags["kind"] for run in runs(reproduced)]

    reproduced.stage("train", "seed=5")
    assert kinds() == ["training", "pipeline"]
    done = reproduced.stage("record", code=1)
    assert done.stderr == (
        "record: models/weights.npz is modified since `dvc repro`: run it again, so that what is "
        "recorded belongs together\n"
    )
    assert "and gets no figures" in reproduced.stage("plot").stdout
    assert not any(key.startswith("test_") for key in runs(reproduced)[0].data.metrics)
    assert "plots" not in artifacts(reproduced, runs(reproduced)[0])
    assert reproduced.repro() == ["train", "plot"]  # DVC knows the evaluation of what this gives
    assert kinds() == ["training", "training", "pipeline"]
    reproduced.stage("record", DVC_ROOT="/another/project", DVC_EXP_NAME="of-another")
    assert kinds() == ["pipeline", "training", "pipeline"]
    run: Run = runs(reproduced)[0]
    assert "test_accuracy" in run.data.metrics
    assert "plots" in artifacts(reproduced, run)
    assert "dvc_experiment" not in run.data.tags


def test_no_run_is_made_of_weights_of_other_settings(reproduced: Project) -> None:
    """A store without the run of the weights gets none that has the parameters of others."""
    kept = "sqlite:///kept.db"
    reproduced.stage("train", "train.epochs=1", f"tracking.uri={kept}")
    done = reproduced.stage("evaluate", "tracking.uri=sqlite:///new.db")
    assert (
        "MLflow has no run with these weights, and gets none: models/weights.npz is modified since "
        "`dvc repro` trained\n"
    ) in done.stdout + done.stderr
    assert runs(reproduced, f"sqlite:///{reproduced / 'new.db'}") == []
    (run,) = runs(reproduced, f"sqlite:///{reproduced / 'kept.db'}")
    assert "test_accuracy" not in run.data.metrics

    assert reproduced.repro() == ["train", "evaluate"]  # the pictures are those of before
    reproduced.edit("params.yaml", "seed: 0", "seed: 6")
    assert "params.yaml: seed is modified since" in reproduced.stage("record", code=1).stderr
    reproduced.edit("params.yaml", "seed: 6", "seed: 0")
    said = reproduced.stage("record", "seed=6", code=1).stderr
    assert said.startswith("record: seed=6 is given by hand since")
    reproduced.stage("record", "tracking.uri=sqlite:///new.db")
    (run,) = runs(reproduced, f"sqlite:///{reproduced / 'new.db'}")
    assert run.data.params["seed"] == "0"

    for stage in ("preprocess", "evaluate", "plot"):
        reproduced.stage(stage, "dataset.scale=standardise", "tracking.uri=sqlite:///new.db")
    (other,) = runs(reproduced, f"sqlite:///{reproduced / 'new.db'}")
    assert other.data.metrics["test_loss"] != run.data.metrics["test_loss"]
    reproduced.stage("preprocess")
    reproduced.run("git", "checkout", "metrics", "plots")
    reproduced.stage("record", "tracking.uri=sqlite:///new.db")
    (again,) = runs(reproduced, f"sqlite:///{reproduced / 'new.db'}")
    assert again.data.metrics == run.data.metrics

    reproduced.edit("dvc.yaml", "  train:\n", "  train:\n    frozen: true\n")
    said = reproduced.stage("record", code=1).stderr
    assert said.startswith("record: dvc.yaml: `frozen` of train hides what has changed since")
