"""How far a sweep is. Each trial counts itself when it ends, in whatever process it runs."""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.learning.history import text
from pipeline.trials.trial_file import Trial

log = logging.getLogger(__name__)

FILE = "progress.json"


def begin(folder: Path, total: int, ended: int = 0) -> None:
    """Note how many trials the sweep in a folder has, of which some have ended."""
    state = {"total": total, "ended": ended, "trained": 0, "began": time.time()}
    write_text(folder / FILE, json.dumps(state))


def unfinished(folder: Path, trials: Sequence[Trial]) -> str:
    """Return a sentence on how many trials of a sweep have ended, empty if all have."""
    if not (folder / FILE).exists():
        return ""
    total = json.loads((folder / FILE).read_text(encoding="utf-8"))["total"]
    ended = sum(one.status not in ("RUNNING", "KILLED") for one in trials)
    if ended >= total:
        return ""
    return f"{ended} of {total} trials have ended: the command of the sweep runs the others."


def count(folder: Path, *, trained: bool = True) -> str:
    """Count a trial that has ended; return what `shown` returns, empty if it cannot be written."""
    with suppress(OSError, UserError), FileLock(folder / ".progress.lock"):
        state = json.loads((folder / FILE).read_text(encoding="utf-8"))
        state |= {"ended": state["ended"] + 1, "trained": state["trained"] + trained}
        write_text(folder / FILE, json.dumps(state))
        return shown(folder)
    return ""


def log_end(trial: Trial, sweep: Path) -> None:
    """Log a line that says how the trial ended, and how far the sweep is."""
    counted = count(sweep, trained=not trial.repeats)
    metrics = "  ".join(f"{name} {text(name, value)}" for name, value in trial.metrics.items())
    taken = f"{trial.seconds:.1f} s" if trial.seconds is not None else ""
    known = "" if not trial.repeats else f"(done before, in {trial.repeats})"
    number = f"trial {trial.number} ({counted})"
    said = [number, trial.name, trial.status, metrics, taken, known, trial.error]
    log.info("  ".join(part for part in said if part))


def shown(folder: Path) -> str:
    """Return how many trials have ended, and how long the others may take, as `3 of 9, 01:30 left`.

    The estimate is that the others take as long as those so far, with as many at a time.
    """
    state = json.loads((folder / FILE).read_text(encoding="utf-8"))
    left = state["total"] - state["ended"]
    said = f"{state['ended']} of {state['total']}"
    if left <= 0 or not state["trained"]:
        return said
    seconds = max(0.0, time.time() - state["began"]) / state["trained"] * left
    return f"{said}, {tqdm.format_interval(seconds)} left"
