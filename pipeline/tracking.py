"""The record of a run in MLflow, which never costs the run its results.

A store that cannot be reached is given up after seconds and tried again now and then and at the
end; what could not be recorded is said in one line, and the stage goes on.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.files import sha256, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
SQLITE = "sqlite:///"
FLUSH_SECONDS = 0.5  # metrics are sent at most this often
RETRY_SECONDS = 10.0  # a store that did not answer is left alone for this long


class Record:
    """One MLflow run: calls wait in a queue until the store has taken them, in order.

    Attributes
    ----------
    run_id : str or None
        None until the store has made the run.
    """

    def __init__(self, config: Config, run_id: str | None = None):
        self.config = config
        self.run_id = run_id
        self._queue: list[Callable[[MlflowClient, str], Any]] = []
        self._metrics: list[tuple[str, float, int, int]] = []
        self._create: Callable[[MlflowClient], str] | None = None
        self._client: MlflowClient | None = None
        self._next_try = 0.0
        self._problem = ""

    def begin(self, name: str, tags: dict[str, str]) -> None:
        """Make the run; it is RUNNING from now on."""
        started = _now()
        self._create = lambda client: (
            client.create_run(experiment_id(client, self.config), started, tags, name).info.run_id
        )
        self.flush()

    def params(self, values: dict[str, Any]) -> None:
        """Log parameters, nested ones under dotted names."""
        from mlflow.entities import Param

        items = [Param(key, str(value)[:6000]) for key, value in flatten(values)]
        self._queue.append(lambda client, run: client.log_batch(run, params=items))

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Log metrics now, or with the next ones that come within half a second."""
        self._metrics += [(key, value, _now(), step) for key, value in values.items()]
        if time.monotonic() >= self._next_try:
            self.flush()

    def tags(self, values: dict[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        items = [RunTag(key, value) for key, value in values.items()]
        self._queue.append(lambda client, run: client.log_batch(run, tags=items))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or every file of a folder."""
        log_it = "log_artifacts" if path.is_dir() else "log_artifact"
        self._queue.append(lambda client, run: getattr(client, log_it)(run, str(path), folder))

    def call(self, function: "Callable[[MlflowClient, str], Any]") -> None:
        """Call a function with the client and the run's id as soon as the store answers."""
        self._queue.append(function)

    def flush(self) -> bool:
        """Send what waits; tell whether all of it was taken."""
        self._next_try = time.monotonic() + FLUSH_SECONDS
        try:
            client = self._client = self._client or connect(self.config)
            if self.run_id is None and self._create is not None:
                self.run_id = self._create(client)
            if self.run_id is None:
                return False
            self._send(client, self.run_id)
        except Exception as error:  # whatever a store or its driver raises must not end the run
            self._next_try = time.monotonic() + RETRY_SECONDS
            if not self._problem:
                log.warning(
                    "MLflow at %s: %s; carrying on without", self.config.tracking.uri, short(error)
                )
            self._problem = short(error)
            return False
        self._problem = ""
        return True

    def end(self, status: str) -> None:
        """Set the run's status, FINISHED, FAILED or KILLED, and send all that waits."""
        ended = _now()
        self._queue.append(lambda client, run: client.set_terminated(run, status, ended))
        self.finish()

    def finish(self) -> None:
        """Send all that waits, or say that the record is not complete and what to do."""
        if self.flush():
            return
        log.warning(
            "MLflow at %s has no complete record of this run: %s. The results are in %s; "
            "`python -m pipeline.record` completes it once the store answers.",
            self.config.tracking.uri,
            self._problem or "it was out of reach before",
            shown(self.config.paths.output),
        )

    def _send(self, client: "MlflowClient", run_id: str) -> None:
        from mlflow.entities import Metric

        if self._metrics:
            client.log_batch(run_id, metrics=[Metric(k, v, t, s) for k, v, t, s in self._metrics])
            self._metrics.clear()
        while self._queue:
            self._queue[0](client, run_id)
            self._queue.pop(0)


@contextmanager
def recorded(record: Record) -> Iterator[Record]:
    """End the run as FINISHED, or as FAILED or KILLED when the block is left by an exception."""
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        record.end("KILLED")
        raise
    except BaseException as error:
        record.tags({"error": f"{type(error).__name__}: {error}"[:5000]})
        record.end("FAILED")
        raise
    record.end("FINISHED")


def connect(config: Config) -> "MlflowClient":
    """Return a client of the configured store that does not wait long for it.

    A store in a file is made by one process at a time: two that make its tables at once collide.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(config.tracking.timeout))
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with _alone(config):
        client = MlflowClient(config.tracking.uri)
        experiment_id(client, config)
    return client


def experiment_id(client: "MlflowClient", config: Config) -> str:
    """Return the id of the configured experiment, made if it is not there."""
    name = config.tracking.experiment
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    local = config.tracking.uri.startswith(SQLITE)
    artifacts = Path("mlruns").resolve().as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=artifacts))


def _alone(config: Config) -> AbstractContextManager[Any]:
    from filelock import FileLock

    uri = config.tracking.uri
    return FileLock(f"{uri.removeprefix(SQLITE)}.lock") if uri.startswith(SQLITE) else nullcontext()


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries with their dotted names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def place(config: Config) -> str:
    """Return the tag that tells this workspace's runs from those of others on the same server."""
    return f"{socket.gethostname()}:{config.paths.output.resolve()}"


def find(client: "MlflowClient", config: Config, weights: Path) -> str | None:
    """Return the id of the latest run of this workspace that made these weights."""
    runs = client.search_runs(
        [experiment_id(client, config)],
        f"tags.weights_sha256 = '{sha256(weights)}' and tags.place = '{place(config)}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(runs[0].info.run_id) if runs else None


def short(error: BaseException) -> str:
    """Return the innermost reason of an error, in one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _now() -> int:
    """Return milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)
