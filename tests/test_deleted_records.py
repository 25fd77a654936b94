"""Runs that are gone or were cut short: the same command records again what it has files of."""

import mlflow
import pytest
from mlflow.entities import Run

from tests.conftest import Project
from tests.test_sweep import runs, sweep, trials


def below(project: Project, parent: Run) -> list[str]:
    """Return the ids of the finished trials below a sweep's run."""
    return sorted(
        run.info.run_id
        for run in runs(project, "trial")
        if run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        and run.info.status == "FINISHED"
    )


@pytest.mark.slow
def test_what_is_deleted_or_cut_short_is_recorded_again_from_its_files(reproduced: Project) -> None:
    arguments = ("train.batch_size=16,32", "train.epochs=2")
    sweep(reproduced, *arguments)
    first = trials(reproduced)
    reproduced.run("rm", "-rf", "mlflow.db", "mlruns")
    assert sweep(reproduced, *arguments).stdout.count("recorded again") == 2
    gone, kept = trials(reproduced)
    (parent,) = runs(reproduced, "sweep")
    assert below(reproduced, parent) == sorted([gone.run_id, kept.run_id])
    assert {one.run_id for one in first}.isdisjoint({gone.run_id, kept.run_id})

    store = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    for run_id in (parent.info.run_id, gone.run_id):
        store.delete_run(run_id)
    said = reproduced.stage("promote", f"run_id={gone.run_id}").stdout
    assert f"run {gone.run_id}, which is gone: the sweep's command records it again\n" in said
    reproduced.run("git", "checkout", "params.yaml")
    assert sweep(reproduced, *arguments).stdout.count("recorded again") == 1
    again, same = trials(reproduced)
    (parent,) = runs(reproduced, "sweep")
    assert below(reproduced, parent) == sorted([again.run_id, kept.run_id])
    assert (same, again.metrics, again.seconds) == (kept, gone.metrics, gone.seconds)
    assert again.metrics == first[0].metrics
    assert store.get_run(again.run_id).data.metrics == pytest.approx(gone.metrics)
    assert len(store.get_metric_history(again.run_id, "val_loss")) == 2
    names = {item.path for item in store.list_artifacts(again.run_id)}
    assert names >= {"weights.npz", "history.csv"}

    store.set_terminated(again.run_id, "KILLED")
    assert sweep(reproduced, *arguments).stdout.count("recorded again") == 1
    whole, same = trials(reproduced)
    assert whole.run_id != again.run_id
    assert store.get_run(whole.run_id).info.status == "FINISHED"
    assert (whole.metrics, same.run_id) == (again.metrics, kept.run_id)
