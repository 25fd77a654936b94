"""Debian's packages that the cluster needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {"slurmctld": "slurm-wlm", "munged": "munge", "pg_ctlcluster": "postgresql"}
POLICY = Path("/usr/sbin/policy-rc.d")  # while it is there, Debian starts no new service


def missing() -> list[str]:
    """Return the packages that are not installed."""
    return [package for command, package in PACKAGES.items() if not shutil.which(command)]


def obstacle() -> str:
    """Return why the cluster cannot be started here, empty if it can."""
    if os.geteuid():
        return "root is needed to start a Slurm cluster"
    if missing() and not shutil.which("apt-get"):
        return f"there is no apt-get to install {', '.join(missing())} with"
    return ""


def install() -> None:
    """Install the packages that are missing; their services are not started."""
    if not (packages := missing()):
        return
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(
                ["apt-get", "-qq", *command], env=environment, stdout=sys.stderr, check=True
            )
    finally:
        if made:
            POLICY.unlink()
