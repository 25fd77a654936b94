"""Runs that stay RUNNING because their recorder was killed, with the stage or alone."""

import os
import socket
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODULE = "pipeline.tracking.recorder"


def signature() -> str:
    """Return the tag by which other recorders of this machine see whether this one lives."""
    return f"{socket.gethostname()} {os.getpid()}"


def end(client: "MlflowClient", experiment_id: str) -> None:
    """End as KILLED the runs whose recorder died before it could."""
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        if _is_abandoned(run.data.tags.get("pipeline.recorder")):
            client.set_terminated(run.info.run_id, "KILLED")


def _is_abandoned(signature: str | None) -> bool:
    """Tell whether a run was of a recorder of this machine that has died."""
    host, _, pid = (signature or "").rpartition(" ")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return MODULE not in psutil.Process(int(pid)).cmdline()
    except psutil.Error:
        return True
