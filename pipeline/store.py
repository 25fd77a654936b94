"""The MLflow store as the recorder sees it: each method of `Store` does one message."""

import gc
import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import abandoned, database
from pipeline.files import sha256, sha256_once
from pipeline.fingerprint import fingerprint

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.entities import Run

HANDOVER_SECONDS = 10  # that the recorder of a process that has died may take to end its run
MOST_METRICS = 1000  # that MLflow takes at once


@dataclass
class Open:
    """An open run, and what it already has when it is not new."""

    run_id: str
    lock: "FileLock | None" = None
    params: set[str] = field(default_factory=set)
    metrics: set[tuple[str, int]] = field(default_factory=set)
    model: bool = False


class Store:
    """A connection and the open runs; what a method returns is the answer to a question."""

    def __init__(self) -> None:
        self.client: MlflowClient
        self.experiment_id = ""
        self.runs: list[Open] = []  # that are open: a sweep's, and in it a trial's

    @property
    def run_id(self) -> str:
        """The id of the run that messages are about."""
        return self.run.run_id

    @property
    def run(self) -> Open:
        """The run that messages are about: the one that was opened last."""
        if not self.runs:
            raise LookupError("the run was not found")
        return self.runs[-1]

    def connect(self, uri: str, experiment: str, timeout: int) -> None:
        """Open the store and the experiment; make them if they are not there.

        A store in a file is made by one process at a time: two that make its tables collide.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout))
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # `close` says what fails
        mlflow.set_tracking_uri(uri)
        with database.made(uri):
            self.client = mlflow.MlflowClient(uri)
            found = self.client.get_experiment_by_name(experiment)
            in_file = uri.startswith(database.SQLITE)
            artifacts = Path("mlruns").resolve().as_uri() if in_file else None
            self.experiment_id = str(
                found.experiment_id
                if found
                else self.client.create_experiment(experiment, artifact_location=artifacts)
            )
        self._end_abandoned()
        gc.freeze()
        gc.enable()

    def _end_abandoned(self) -> None:
        """End as KILLED the runs whose recorder died before it could."""
        running = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'")
        for run in running:
            if abandoned.is_abandoned(run.data.tags.get("recorder")):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def begin(
        self,
        name: str,
        tags: dict[str, str],
        started: float,
        *,
        identity: dict[str, Any] | None = None,
        training: str = "",
        lock: str = "",
    ) -> dict[str, Any]:
        """Make a run; it is RUNNING from now on, and what follows is of this run.

        `identity` is what `pipeline.fingerprint` takes; a run that is not itself a trial is tagged
        with the trial that it repeats, if there is one. `training` and `lock` are those of
        `pipeline.checkpoint`: if the store has the run of a training that goes on, and no other
        process records it, that run goes on, and of what follows takes only what it lacks.
        """
        held = _held(lock) if lock else None
        if held and training:
            tags = tags | {"training": training}
            run = self._first(f"tags.training = '{training}'")
            if run and (run.info.status != "FINISHED" or run.data.tags["place"] == tags["place"]):
                return self._go_on(run, tags["place"], held)
        if identity:
            tags = tags | {"fingerprint": fingerprint(identity["settings"], identity["folder"])}
            if origin := self._trial(tags["fingerprint"]):
                tags = tags | {"trial_run_id": origin}
            tags = tags | self._latest(tags["place"])
        tags = tags | {"recorder": abandoned.signature()}
        run = self.client.create_run(self.experiment_id, int(started * 1000), tags, name)
        self.runs.append(Open(run.info.run_id, held))
        return {"run_id": self.run_id}

    def _latest(self, place: str) -> dict[str, str]:
        """Take the tag from the latest run of a place, and return it for the next.

        Start times would not do: clocks are set back.
        """
        for run in self.client.search_runs([self.experiment_id], "tags.latest = 'true'"):
            if run.data.tags.get("place") == place:
                self.client.delete_tag(run.info.run_id, "latest")
        return {"latest": "true"}

    def _trial(self, fingerprint: str) -> str | None:
        """Return the finished trial of a sweep that has the fingerprint, if there is one."""
        found = self._first(
            f"tags.fingerprint = '{fingerprint}' and tags.kind = 'trial' "
            "and attributes.status = 'FINISHED'"
        )
        return str(found.info.run_id) if found else None

    def _first(self, condition: str) -> "Run | None":
        """Return the latest run that meets a condition, if there is one."""
        found = self.client.search_runs([self.experiment_id], condition, max_results=1)
        return found[0] if found else None

    def _go_on(self, run: "Run", place: str, lock: "FileLock") -> dict[str, Any]:
        run_id, data = run.info.run_id, run.data
        metrics = {
            (key, point.step)
            for key in data.metrics
            for point in self.client.get_metric_history(run_id, key)
        }
        self.client.update_run(run_id, "RUNNING")
        for tag in {"error", "status"} & set(data.tags):
            self.client.delete_tag(run_id, tag)
        model = bool(run.outputs and run.outputs.model_outputs)
        self.runs.append(Open(run_id, lock, set(data.params), metrics, model))
        tags = {"place": place, "resumed": str(int(data.tags.get("resumed", 0)) + 1)}
        latest = self._latest(place) if data.tags.get("kind") == "pipeline" else {}
        self.tags(tags | latest | {"recorder": abandoned.signature()})
        return {"run_id": run_id}

    def reopen(self, run_id: str, lock: str) -> dict[str, Any]:
        """Go on with a run that has ended."""
        held = _held(lock)
        self.client.update_run(run_id, "RUNNING")
        self.runs.append(Open(run_id, held))
        self.tags({"recorder": abandoned.signature()})
        return {"run_id": run_id}

    def status(self, run_id: str) -> dict[str, Any]:
        """Answer the status of any run."""
        return {"status": self.client.get_run(run_id).info.status}

    def kill_children(self) -> None:
        """End as KILLED the runs below this one that are RUNNING: their processes have died."""
        children = self.client.search_runs(
            [self.experiment_id],
            f"tags.mlflow.parentRunId = '{self.run_id}' and attributes.status = 'RUNNING'",
        )
        for child in children:
            self.client.set_terminated(child.info.run_id, "KILLED")

    def flush(self) -> None:
        """Do nothing: the answer says that all before is done."""

    def find(self, weights: str, place: str) -> dict[str, Any]:
        """Go on with the latest run of that place with those weights; answer what it holds.

        Such a run has all of its training; if its end was not recorded, it is now.
        """
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.weights_sha256 = '{sha256(Path(weights))}'",
            order_by=["tags.latest DESC", "attributes.start_time DESC"],
        )
        run = next((run for run in runs if run.data.tags.get("place") == place), None)
        if not run:
            return {"run": None}
        self.runs = [Open(run.info.run_id)]
        if run.info.status != "FINISHED":
            self.client.set_terminated(self.run_id, "FINISHED")
        return {
            "run": run.info.run_name,
            "metrics": run.data.metrics,
            "figures": bool(self.client.list_artifacts(self.run_id, "plots")),
        }

    def params(self, params: dict[str, Any]) -> None:
        """Log parameters, nested ones under dotted names, and all of them as config.yaml."""
        from mlflow.entities import Param

        items = [
            Param(key, str(value)[:6000])
            for key, value in _flatten(params)
            if key not in self.run.params
        ]
        self.client.log_batch(self.run_id, params=items)
        self.client.log_dict(self.run_id, params, "config.yaml")

    def metrics(self, points: list[tuple[dict[str, float], int, float]]) -> None:
        """Log metrics, each with its step and when it was measured, in seconds since 1970."""
        from mlflow.entities import Metric

        items = [
            Metric(key, value, int(at * 1000), step)
            for metrics, step, at in points
            for key, value in metrics.items()
            if (key, step) not in self.run.metrics
        ]
        for first in range(0, len(items), MOST_METRICS):
            self.client.log_batch(self.run_id, metrics=items[first : first + MOST_METRICS])

    def tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def data(self, name: str, files: dict[str, str]) -> None:
        """Log the training set as an input, with the SHA-256 of each file (tag: path)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        hashes = {tag: sha256_once(Path(path)) for tag, path in files.items()}
        source = json.dumps({"uri": str(Path(next(iter(files.values()))).parent), **hashes})
        dataset = Dataset(name, next(iter(hashes.values()))[:36], "local", source)
        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, context)])
        self.tags(hashes)

    def files(self, paths: list[str], folder: str | None = None) -> None:
        """Log files."""
        for path in paths:
            self.client.log_artifact(self.run_id, path, folder)

    def model(self, weights: str, data: str, description: dict[str, Any]) -> None:
        """Log a model that `mlflow models serve` can serve, and tag the run with its weights' hash.

        The steps of MLflow's `log_model`, less its trial prediction, which would need TensorFlow.
        """
        if self.run.model:
            self.tags({"weights_sha256": sha256(Path(weights))})
            return
        from mlflow.entities import LoggedModelOutput

        from pipeline import logged_model

        logged = self.client.create_logged_model(self.experiment_id, "model", self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            saved = logged_model.save(Path(folder), Path(weights), Path(data), description, logged)
            self.client.log_model_artifacts(logged.model_id, str(saved))
        self.client.finalize_logged_model(logged.model_id, "READY")
        self.client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self.tags({"weights_sha256": sha256(Path(weights))})  # now `find` finds the run

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED, not before it began: clocks are set back."""
        began = self.client.get_run(self.run_id).info.start_time
        self.client.set_terminated(self.run_id, status, max(began, int(time.time() * 1000)))
        if lock := self.runs.pop().lock:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release(force=True)


def _held(path: str) -> "FileLock | None":
    """Return the lock of that file, unless another process keeps it to itself."""
    from filelock import FileLock

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)  # a message that is tried again holds it already
    try:
        lock.acquire(timeout=HANDOVER_SECONDS)
    except OSError:  # a time-out is one
        return None
    return lock


def _flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        pairs += (
            _flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else [(prefix + key, value)]
        )
    return pairs
