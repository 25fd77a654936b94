"""The machine and the versions that results were made on, and those that are here.

`docs/made_on.json` describes the former. Only `python -m pipeline.verify record=true` writes it, so
that reproducing the results on another machine leaves nothing to commit.
"""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from pipeline.files import write_text
from pipeline.learning import determinism
from pipeline.verification.lock import Out

FILE = Path("docs/made_on.json")
SETTINGS = (
    *("DNNL_", "MKL_", "NPY_", "OMP_", "ONEDNN_", "OPENBLAS_", "XLA_"),
    *("TF_DETERMINISTIC_", "TF_DISABLE_", "TF_ENABLE_", "TF_NUM_", "TF_XLA_"),
)


def here() -> dict[str, Any]:
    """Return what this machine is, as far as it may decide the bits."""
    return {
        "processor": determinism.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
    }


def line(machine: dict[str, Any]) -> str:
    """Return a machine in one line."""
    return "{processor}, {cores} cores, {system}, Python {python}, TensorFlow {tensorflow}".format(
        **machine
    )


def record(outs: list[Out]) -> None:
    """Write into docs/made_on.json that these outs were made on this machine."""
    write_text(FILE, json.dumps({"outs_sha256": _digest(outs)} | here(), indent=2) + "\n")


def made_on(project: Path, outs: list[Out]) -> str:
    """Return the line of the machine that these outs were made on, or why it is not known."""
    try:
        content = json.loads((project / FILE).read_text(encoding="utf-8"))
        if content["outs_sha256"] != _digest(outs):
            return f"not known: {FILE} is about other results"
        return line(content)
    except FileNotFoundError:
        return f"not known: there is no {FILE}, which `record=true` writes"
    except (ValueError, KeyError, TypeError, OSError):
        return f"not known: {FILE} cannot be read"


def unlike(requirements: Path) -> list[str]:
    """Return the installed versions that are not those which a requirements file pins."""
    found = []
    text = requirements.read_text(encoding="utf-8") if requirements.exists() else ""
    for entry in text.splitlines():
        try:
            pin = Requirement(entry.rstrip("\\ "))
        except InvalidRequirement:  # a comment, a hash
            continue
        if pin.marker and not pin.marker.evaluate():
            continue
        try:
            installed = version(pin.name)
        except PackageNotFoundError:
            found.append(f"{pin.name} is not installed, but locked as {pin.specifier}")
            continue
        if not pin.specifier.contains(installed, prereleases=True):
            found.append(f"{pin.name} is {installed}, but locked as {pin.specifier}")
    return found


def settings() -> list[str]:
    """Return what the environment sets of TensorFlow and of the libraries below it."""
    return [f"{key}={value}" for key, value in os.environ.items() if key.startswith(SETTINGS)]


def _digest(outs: list[Out]) -> str:
    content = json.dumps(sorted((out.path, out.md5) for out in outs))
    return hashlib.sha256(content.encode()).hexdigest()
