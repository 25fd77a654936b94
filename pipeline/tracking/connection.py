"""The connection to the store; a store in an SQLite file is there whole or not at all.

A run whose recorder was killed stays RUNNING until the next recorder connects, which ends it.
"""

import logging
import os
import shlex
import shutil
import socket
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil

from pipeline import workspace
from pipeline.files import replacing
from pipeline.tracking import relocation

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORDER = "pipeline.tracking.recorder"
SIGNED = "pipeline.recorder"  # the tag that names the recorder of a run


def connect(uri: str, experiment: str, timeout: int) -> "tuple[MlflowClient, str]":
    """Return a client and the id of the experiment; make store and experiment if need be.

    One process at a time makes a store in a file: if two made its tables, they would collide.

    Raises
    ------
    LookupError
        If the experiment has been deleted.
    Exception
        Of whatever kind the store or its driver raises.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout))
    import mlflow
    from filelock import FileLock

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # `Client.close` says what fails
    uri, path = _located(uri)
    mlflow.set_tracking_uri(uri)
    with FileLock(f"{path}.lock") if path else nullcontext():
        if path and not path.exists():
            _make(path)
        client = mlflow.MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found and found.lifecycle_stage == "deleted":
            raise LookupError(
                f"the experiment {experiment!r} has been deleted there: "
                f"`MLFLOW_TRACKING_URI={shlex.quote(uri)} mlflow experiments restore "
                f"--experiment-id {found.experiment_id}` brings it back; "
                "tracking.experiment=NAME takes another"
            )
        if found and path:
            relocation.mend(path, found.artifact_location)
        artifacts = relocation.beside(path) if path else None
        experiment_id = str(
            found.experiment_id
            if found
            else client.create_experiment(experiment, artifact_location=artifacts)
        )
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        if _is_abandoned(run.data.tags.get(SIGNED)):
            client.set_terminated(run.info.run_id, "KILLED")
    return client, experiment_id


def is_missing(uri: str) -> bool:
    """Tell whether the store is a file that does not exist yet."""
    _, path = _located(uri)
    return path is not None and not path.exists()


def signature() -> str:
    """Return the tag by which other recorders of this machine see whether this one still runs."""
    return f"{socket.gethostname()} {os.getpid()}"


def _is_abandoned(signature: str | None) -> bool:
    """Tell whether the recorder of a run ran on this machine and has died."""
    host, _, pid = (signature or "").rpartition(" ")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return RECORDER not in psutil.Process(int(pid)).cmdline()
    except psutil.Error:
        return True


def _located(uri: str) -> tuple[str, Path | None]:
    """Return the address and, of a store in a file, its path; relative ones are made absolute."""
    if not uri.startswith("sqlite"):
        return uri, None
    from sqlalchemy import make_url

    url = make_url(uri)
    if url.database in (None, "", ":memory:"):
        return uri, None
    path = workspace.root() / url.database
    return _address(path, url.drivername, uri.partition("?")[2]), path


def _address(path: Path, driver: str = "sqlite", query: str = "") -> str:
    """Return the address of a store in a file.

    SQLAlchemy would write `%C3%A9` for an é. MLflow makes the folder of an address, and would make
    one of that name.
    """
    written = str(path).replace("%", "%25").replace("?", "%3F")
    return f"{driver}:///{written}" + (f"?{query}" if query else "")


def _make(path: Path) -> None:
    """Make a store in a file, in one step: if MLflow is killed between tables, it cannot go on."""
    from mlflow import MlflowClient

    with TemporaryDirectory() as folder:
        complete = Path(folder, path.name)
        MlflowClient(_address(complete)).get_experiment("0")
        with replacing(path) as temporary:
            shutil.copyfile(complete, temporary)
