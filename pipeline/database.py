"""The way to the store; one in an SQLite file is there whole or not at all."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.files import replacing

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


def connect(uri: str, experiment: str, timeout: int) -> "tuple[MlflowClient, str]":
    """Return a client and the id of the experiment; make store and experiment if need be.

    A store in a file is made by one process at a time: two that make its tables collide.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout))
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # `Record.close` says what fails
    mlflow.set_tracking_uri(uri)
    with _made(uri):
        client = mlflow.MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        artifacts = Path("mlruns").resolve().as_uri() if uri.startswith(SQLITE) else None
        return client, str(
            found.experiment_id
            if found
            else client.create_experiment(experiment, artifact_location=artifacts)
        )


@contextmanager
def _made(uri: str) -> Iterator[None]:
    """Make the file, unless it is there or the store is none; keep others from it for the block.

    MLflow makes its tables one by one, and cannot go on when it was killed among them.
    """
    if not uri.startswith(SQLITE):
        yield
        return
    from filelock import FileLock

    path = Path(uri.removeprefix(SQLITE))
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _make(path)
        yield


def _make(path: Path) -> None:
    from mlflow import MlflowClient

    with TemporaryDirectory() as folder:
        complete = Path(folder, path.name)
        MlflowClient(f"{SQLITE}{complete}").get_experiment("0")
        with replacing(path) as temporary:
            shutil.copyfile(complete, temporary)
