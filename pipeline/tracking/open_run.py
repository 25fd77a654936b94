"""An open run, and what is put on it: `OpenRun` does the messages about that."""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import sha256, sha256_once

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_METRICS = 1000  # that MLflow takes at once
HANDOVER_SECONDS = 10  # that the recorder of a process that has died may take to end its run
NOTE = "mlflow.note.content"
RESULT = "Result: "


@dataclass
class OpenRun:
    """A run that takes what it lacks; `known` is what it has already when it is not new."""

    client: "MlflowClient"
    experiment_id: str
    run_id: str
    lock: "FileLock | None" = None
    known_params: set[str] = field(default_factory=set)
    known_metrics: set[tuple[str, int]] = field(default_factory=set)
    known_model: bool = False

    def look(self, run: "Run") -> None:
        """Note what the run has, from what MLflow says of it."""
        self.known_params = set(run.data.params)
        self.known_metrics = {
            (key, point.step)
            for key in run.data.metrics
            for point in self.client.get_metric_history(self.run_id, key)
        }
        self.known_model = bool(run.outputs and run.outputs.model_outputs)

    def params(self, params: dict[str, Any]) -> None:
        """Log parameters."""
        from mlflow.entities import Param

        items = [
            Param(key, str(value)[:6000])
            for key, value in params.items()
            if key not in self.known_params
        ]
        self.client.log_batch(self.run_id, params=items)

    def config(self, config: dict[str, Any]) -> None:
        """Log the configuration as config.yaml."""
        self.client.log_dict(self.run_id, config, "config.yaml")

    def result(self, line: str) -> None:
        """Begin the description with a paragraph about the result, in place of an earlier one."""
        note = self.client.get_run(self.run_id).data.tags.get(NOTE, "")
        rest = note.partition("\n\n")[2] if note.startswith(RESULT) else note
        self.tags({NOTE: f"{RESULT}{line.strip()}\n\n{rest}".strip()})

    def metrics(self, points: list[tuple[dict[str, float], int, float]]) -> None:
        """Log metrics, each with its step and when it was measured, in seconds since 1970."""
        from mlflow.entities import Metric

        items = [
            Metric(key, value, int(at * 1000), step)
            for metrics, step, at in points
            for key, value in metrics.items()
            if (key, step) not in self.known_metrics
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
        if self.known_model:
            self.tags({"weights_sha256": sha256(Path(weights))})
            return
        from mlflow.entities import LoggedModelOutput

        from pipeline.tracking import logged_model

        logged = self.client.create_logged_model(self.experiment_id, "model", self.run_id)
        with tempfile.TemporaryDirectory() as folder:
            saved = logged_model.save(Path(folder), Path(weights), Path(data), description, logged)
            self.client.log_model_artifacts(logged.model_id, str(saved))
        self.client.finalize_logged_model(logged.model_id, "READY")
        self.client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self.tags({"weights_sha256": sha256(Path(weights))})  # now `Store.find` finds the run


def hold(path: str) -> "FileLock | None":
    """Return the lock of that file, unless another process keeps it to itself."""
    from filelock import FileLock

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)  # a message that is tried again holds it already
    try:
        lock.acquire(timeout=HANDOVER_SECONDS)
    except OSError:  # a time-out is one
        return None
    return lock
