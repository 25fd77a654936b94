"""Whether the results in the workspace are those that DVC has made from the settings in the files.

If somebody runs a stage by hand, with overrides or after an edit, its results do not belong to the
others or to the settings. DVC can tell.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from pipeline.errors import UserError
from pipeline.settings import dvc_yaml
from pipeline.verification import lock
from pipeline.verification.reproduction import md5

OF_THE_RECORD = ("tracking.", "download.")  # overrides that decide no result


def changed(*stages: str) -> str:
    """Return the first change since `dvc repro` ran these stages, empty if there is none.

    Settings, code, inputs and results of the stages are compared.
    """
    return ask(*stages)()


def ask(*stages: str) -> Callable[[], str]:
    """Ask DVC beside other work; what is returned waits for the answer, that of `changed`."""
    if given := overrides():
        return lambda: f"{given[0]} is given by hand"
    if frozen := [stage for stage in stages if dvc_yaml.is_frozen(stage)]:
        return lambda: f"{dvc_yaml.FILE}: `frozen` of {frozen[0]} hides what has changed"
    command = [sys.executable, "-m", "dvc", "status", "--json", *stages]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )

    def answer() -> str:
        output, errors = process.communicate()
        if process.returncode:
            lines = errors.partition("ERROR: ")[2].splitlines()
            why = " ".join(" ".join(lines[:2]).split()) or "no reason is given"  # busy: by whom
            return f"DVC cannot tell what has changed ({why})"
        return next(_said(json.loads(output)), "")

    return answer


def overrides() -> list[str]:
    """Return the overrides of this command that decide its results."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [item for item in given if not item.lstrip("+").startswith(OF_THE_RECORD)]


def by_hand(path: Path) -> bool:
    """Tell whether a result of the workspace is not the one that dvc.lock names."""
    try:
        outs = lock.outs(lock.read(Path(lock.NAME)))
    except UserError:
        return True
    return (str(path), md5(path)) not in [(out.path, out.md5) for out in outs]


def _said(status: dict[str, list[Any]]) -> Iterator[str]:
    for stage, changes in status.items():
        for change in changes:
            if isinstance(change, str):  # its command
                yield f"{stage}: {change}"
                continue
            for path, how in (item for one in change.values() for item in one.items()):
                if isinstance(how, dict):  # keys of a file
                    yield from (f"{path}: {key} is {word}" for key, word in how.items())
                else:
                    yield f"{path} is {how}"
