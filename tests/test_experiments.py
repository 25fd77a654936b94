"""DVC's experiments, in the workspace and in its temporary copies, are in the workspace's store."""

import pytest
from mlflow.entities import Run

from tests.conftest import Project
from tests.test_tracking import artifacts, runs

ALL = ["classes.csv", "config.yaml", "evaluation.json", "history.csv", "mistakes.csv", "plots"]


@pytest.mark.slow
def test_an_experiment_has_one_name_and_its_record_stays(reproduced: Project) -> None:
    head = reproduced.run("git", "rev-parse", "HEAD").stdout.strip()
    author = {
        f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    (before,) = runs(reproduced)
    experiment = ("dvc", "exp", "run", "-S", "train.epochs=1")
    reproduced.run(*experiment, "-S", "seed=1", "--queue", "--name", "queued", **author)
    reproduced.run("dvc", "exp", "run", "--run-all", **author)
    reproduced.run(*experiment, "-S", "seed=2", "--temp", "--name", "aside", **author)
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
    reproduced.run(*experiment, "-S", "seed=3", "--name", "here", "evaluate", **author)
    latest = runs(reproduced)[0]
    assert latest.data.tags["dvc_experiment"] == "here"
    assert latest.data.tags["pipeline.place"].endswith(f":{reproduced.folder}")


def test_a_training_by_hand_is_no_pipeline_run_until_it_is_evaluated(reproduced: Project) -> None:
    def kinds() -> list[str]:
        return [run.data.tags["kind"] for run in runs(reproduced)]

    reproduced.stage("train", "seed=5")
    assert kinds() == ["training", "pipeline"]
    assert reproduced.repro() == ["train"]  # DVC knows the evaluation of what this gives
    assert kinds() == ["training", "training", "pipeline"]
    reproduced.stage("record", DVC_ROOT="/another/project", DVC_EXP_NAME="of-another")
    assert kinds() == ["pipeline", "training", "pipeline"]
    run: Run = runs(reproduced)[0]
    assert "test_accuracy" in run.data.metrics
    assert "dvc_experiment" not in run.data.tags
