"""A team's storage: two clones share data, models and the record through a server of S3."""

import platform
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cluster import mlflow_server, storage
from cluster.one_node import free_ports
from cluster.processes import Processes
from tests.conftest import Project, make_project

pytestmark = [
    pytest.mark.timeout(900),  # the packages have to be fetched
    pytest.mark.skipif(platform.machine() != "x86_64", reason="rclone is locked for x86-64"),
]
STAGES = ["download", "preprocess", "train", "evaluate", "plot"]


def test_a_team_shares_its_data_models_and_record_on_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pushes and records; in the other nothing is trained, and a wrong key is refused."""
    packages = tmp_path / "packages"
    storage.install(packages)
    ports, processes = free_ports(2), Processes(tmp_path)
    try:
        keys = storage.start(processes, packages, ports[0])
        with monkeypatch.context() as patch:  # the server of MLflow has the keys
            for name, value in keys.items():
                patch.setenv(name, value)
            store, artifacts = f"sqlite:///{tmp_path}/runs.db", f"s3://{storage.BUCKET}/mlflow"
            mlflow_server.serve(processes, ports[1], store, artifacts)
        uri = f"http://127.0.0.1:{ports[1]}"
        first = make_project(tmp_path / "first")
        assert first.repro(MLFLOW_TRACKING_URI=uri) == STAGES
        first.run("dvc", "remote", "add", "--default", "team", f"s3://{storage.BUCKET}/dvc", **keys)
        first.run("dvc", "push", **keys)
        first.commit()
        first.run("git", "clone", "-q", ".", str(tmp_path / "second"))

        second = Project(tmp_path / "second")
        wrong = keys | {"AWS_SECRET_ACCESS_KEY": "wrong"}
        assert "403" in second.run("dvc", "pull", code=None, **wrong).stderr
        second.run("dvc", "pull", **keys)
        for name in ("models/weights.npz", "data/processed/x_train.npy"):
            assert (second / name).read_bytes() == (first / name).read_bytes()
        second.run("python", "-m", "pipeline.record", MLFLOW_TRACKING_URI=uri)
        client = MlflowClient(uri)
        found = client.search_runs([one.experiment_id for one in client.search_experiments()])
        assert [run.info.status for run in found] == ["FINISHED"] * 2  # one of each clone
        for run in found:
            kept = tmp_path / f"buckets/{storage.BUCKET}/mlflow/{run.info.experiment_id}"
            (weights,) = (kept / run.info.run_id).rglob("weights.npz")
            assert weights.read_bytes() == (first / "models/weights.npz").read_bytes()
            client.download_artifacts(run.info.run_id, "weights.npz", str(second.folder))
            assert (second / "weights.npz").read_bytes() == weights.read_bytes()
        assert second.repro(MLFLOW_TRACKING_URI=uri) == ["download"]  # which has the raw files
    finally:
        processes.stop()
