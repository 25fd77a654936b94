"""What must be the same after every recovery, and the commands that recover."""

import os
import shutil
import time
from pathlib import Path, PurePath

from mlflow import MlflowClient

from tests.conftest import Project
from tests.test_tracking import runs

ELSEWHERE = {".git", "cache", "tmp", "mlruns", "__pycache__"}
UNCOUNTED = ("mlflow.db*", "*.lock", "checkpoints/*.npz")
SETTLE_SECONDS = 120  # after which a recorder whose stage has died has ended too


def make_stale(project: Project, names: dict[str, str]) -> None:
    """Remove outs, given with their MD5, from the workspace and from DVC's cache."""
    for name, md5 in names.items():
        (project / name).unlink(missing_ok=True)
        (project / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}").unlink(missing_ok=True)
    shutil.rmtree(project / ".dvc/cache/runs", ignore_errors=True)


def recover(project: Project) -> str:
    """Run `dvc repro`; if it fails, run `repair` and try again. Return what `repair` printed."""
    done, repaired = project.run("dvc", "repro", code=None), ""
    if done.returncode:
        repaired = project.stage("repair").stdout
        assert repaired, f"nothing to repair, but: {done.stdout}\n{done.stderr}"
        project.run("dvc", "repro")
    return repaired


def files(project: Project) -> set[str]:
    """Return the names of the files, but for locks and what git, DVC, MLflow and Python keep.

    A checkpoint does not count: when a training is killed with its outs complete, as they stand in
    dvc.lock, DVC has no reason to run it again, which would remove it.
    """
    found = set()
    for folder, folders, names in os.walk(project.folder):
        folders[:] = [name for name in folders if name not in ELSEWHERE]
        found |= {os.path.relpath(Path(folder, name), project.folder) for name in names}
    return {name for name in found if not any(map(PurePath(name).match, UNCOUNTED))}


def check_record(project: Project, epochs: int) -> None:
    """Check that no run stays RUNNING and that the latest has all results, each epoch once."""
    project.stage("record")
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    deadline = time.monotonic() + SETTLE_SECONDS
    while found := [run.info.run_id for run in runs(project) if run.info.status == "RUNNING"]:
        assert time.monotonic() < deadline, f"RUNNING for good: {found}"
        time.sleep(0.5)
    run = next(run for run in runs(project) if run.info.status == "FINISHED")
    assert len(client.list_artifacts(run.info.run_id, "plots")) == 5
    assert "test_loss" in run.data.metrics
    for name in ("loss", "val_accuracy"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert steps == list(range(1, epochs + 1))
