"""Runs that stay RUNNING because their recorder was killed, with the stage or alone."""

import os
import socket

import psutil

MODULE = "pipeline.recorder"


def signature() -> str:
    """Return the tag by which other recorders of this machine see whether this one lives."""
    return f"{socket.gethostname()} {os.getpid()}"


def is_abandoned(signature: str | None) -> bool:
    """Tell whether a run was of a recorder of this machine that has died."""
    host, _, pid = (signature or "").rpartition(" ")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        return MODULE not in psutil.Process(int(pid)).cmdline()
    except psutil.Error:
        return True
