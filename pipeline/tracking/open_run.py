"""A run that is open in the MLflow store: each method carries out a message about it."""

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_METRICS = 1000  # that MLflow takes at once
HANDOVER_SECONDS = 10  # within which the recorder of a process that has died ends its run
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
EXPERIMENT = "dvc_experiment"  # its name, as `dvc exp show` has it
RESULT = "Result: "


class OpenRun:
    """A run, as MLflow had it when it was opened, and the lock of the file of its training."""

    def __init__(self, client: "MlflowClient", run: "Run", lock: "FileLock | None" = None):
        self._client, self._opened, self._lock = client, run, lock
        self.run_id = str(run.info.run_id)
        self._params: set[str] = set()
        self._metrics: set[tuple[str, int]] = set()
        self._has_model = False

    def look(self) -> None:
        """Note which parameters, metrics and model the run has: they are not logged again.

        The metrics of a sweep's run are, as they may have changed.
        """
        data = self._opened.data
        self._params = set(data.params)
        if "pipeline.training" in data.tags:
            self._metrics = {
                (key, point.step)
                for key in data.metrics
                for point in self._client.get_metric_history(self.run_id, key)
            }
        outputs = self._opened.outputs
        self._has_model = bool(outputs and outputs.model_outputs)

    def contents(self) -> dict[str, Any]:
        """Return the fields of `tracking.client.Contents`."""
        now = self._client.get_run(self.run_id)
        return {
            "name": now.info.run_name,
            "experiment_id": now.info.experiment_id,
            "metrics": now.data.metrics,
            "figures": bool(self._client.list_artifacts(self.run_id, "plots")),
        }

    def params(self, params: dict[str, Any]) -> None:
        """Log parameters."""
        from mlflow.entities import Param

        new = {key: value for key, value in params.items() if key not in self._params}
        items = [Param(key, str(value)[:6000]) for key, value in new.items()]
        self._client.log_batch(self.run_id, params=items)

    def config(self, config: dict[str, Any]) -> None:
        """Log the configuration as config.yaml."""
        self._client.log_dict(self.run_id, config, "config.yaml")

    def tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def result(self, line: str) -> None:
        """Begin the description with a paragraph about the result, in place of an earlier one."""
        note = self._client.get_run(self.run_id).data.tags.get(NOTE, "")
        rest = note.partition("\n\n")[2] if note.startswith(RESULT) else note
        self.tags({NOTE: f"{RESULT}{line.strip()}\n\n{rest}".strip()})

    def metrics(self, points: list[tuple[dict[str, float], int, float]]) -> None:
        """Log metrics, each with its step and when it was measured, in seconds since 1970."""
        from mlflow.entities import Metric

        items = [
            Metric(key, value, int(at * 1000), step)
            for metrics, step, at in points
            for key, value in metrics.items()
            if (key, step) not in self._metrics
        ]
        for first in range(0, len(items), MOST_METRICS):
            self._client.log_batch(self.run_id, metrics=items[first : first + MOST_METRICS])

    def data(self, name: str, folder: str, hashes: dict[str, str]) -> None:
        """Log the training set as an input, and the SHA-256 of its files as tags.

        Parameters
        ----------
        name, folder : str
            The data set, and where its arrays lie.
        hashes : dict of str to str
            SHA-256 by tag.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": folder, **hashes})
        dataset = Dataset(name, next(iter(hashes.values()))[:36], "local", source)
        context = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, context)])
        self.tags(hashes)

    def origin(self, fingerprint: str) -> None:
        """Tag a run with its fingerprint and the trial that it repeats, unless it is a trial."""
        if self._opened.data.tags.get("kind") == "trial":
            return
        repeated = self._client.search_runs(
            [self._opened.info.experiment_id],
            f"tags.`pipeline.fingerprint` = '{fingerprint}' and tags.kind = 'trial' "
            "and attributes.status = 'FINISHED'",
            max_results=1,
        )
        trial = {"trial_run_id": str(repeated[0].info.run_id)} if repeated else {}
        self.tags({"pipeline.fingerprint": fingerprint} | trial)

    def files(self, paths: list[str], folder: str) -> None:
        """Log files."""
        for path in paths:
            self._client.log_artifact(self.run_id, path, folder or None)

    def model(self, weights: str, weights_sha256: str, data: str, choices: dict[str, Any]) -> None:
        """Log a model that `mlflow models serve` can serve, and tag the run with its weights' hash.

        These are the steps of MLflow's `log_model`, without its trial prediction, which would need
        TensorFlow.
        """
        if not self._has_model:
            from mlflow.entities import LoggedModelOutput

            from pipeline.tracking import served_model

            experiment_id = self._opened.info.experiment_id
            logged = self._client.create_logged_model(experiment_id, "model", self.run_id)
            with tempfile.TemporaryDirectory() as folder:
                saved = served_model.save(Path(folder), Path(weights), Path(data), choices, logged)
                self._client.log_model_artifacts(logged.model_id, str(saved))
            self._client.finalize_logged_model(logged.model_id, "READY")
            self._client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self.tags({"weights_sha256": weights_sha256})  # now `Store.find` finds the run

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED.

        Runs below that of a sweep that are still RUNNING end as KILLED: their processes have died.
        The end is never before the start, even if the clock was set back.
        """
        if self._opened.data.tags.get("kind") == "sweep":
            below = f"tags.{PARENT} = '{self.run_id}' and attributes.status = 'RUNNING'"
            for one in self._client.search_runs([self._opened.info.experiment_id], below):
                self._client.set_terminated(one.info.run_id, "KILLED")
        now = max(self._opened.info.start_time, int(time.time() * 1000))
        self._client.set_terminated(self.run_id, status, now)
        if self._lock:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release(force=True)


def hold(path: str) -> "FileLock | None":
    """Return the lock of a file once it is acquired, or None if another process holds it."""
    from filelock import FileLock

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)  # a message that is tried again holds it already
    try:
        lock.acquire(timeout=HANDOVER_SECONDS)
    except OSError:  # a time-out is one
        return None
    return lock
