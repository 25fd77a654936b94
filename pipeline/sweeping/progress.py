"""How far a sweep is: its trials count themselves as they end, in whatever process they run."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.files import replacing


def begin(folder: Path, total: int, ended: int = 0) -> None:
    """Note how many trials the sweep in a folder has, of which some have ended."""
    _write(folder, {"total": total, "ended": ended, "trained": 0, "began": time.time()})


def count(folder: Path, *, trained: bool = True) -> str:
    """Count a trial that has ended; return what `shown` does, empty if it cannot be noted."""
    with suppress(OSError, UserError), FileLock(folder / ".progress.lock"):
        state = _read(folder)
        _write(
            folder,
            state | {"ended": state["ended"] + 1, "trained": state["trained"] + trained},
        )
        return shown(folder)
    return ""


def shown(folder: Path) -> str:
    """Return how many trials have ended, and how long the others may take, as `3 of 9, 01:30 left`.

    They are expected to take as long as the trials trained so far, as many of them at once.
    """
    state = _read(folder)
    left = state["total"] - state["ended"]
    said = f"{state['ended']} of {state['total']}"
    if left <= 0 or not state["trained"]:
        return said
    seconds = max(0.0, time.time() - state["began"]) / state["trained"] * left
    return f"{said}, {tqdm.format_interval(seconds)} left"


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "progress.json").read_text(encoding="utf-8"))


def _write(folder: Path, state: dict[str, Any]) -> None:
    with replacing(folder / "progress.json") as temporary:
        temporary.write_text(json.dumps(state) + "\n", encoding="utf-8")
