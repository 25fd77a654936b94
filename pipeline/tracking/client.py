"""The record of a run, kept by a process of its own so that it never costs the run its results.

The stage sends messages and goes on; `pipeline.tracking.recorder` imports MLflow and talks to the
store meanwhile. A store that is slow or down delays nothing but the end, and that by seconds.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.files import shown
from pipeline.masking import masked
from pipeline.settings.schema import Tracking

log = logging.getLogger(__name__)
END_SECONDS = 90  # a store that has not answered by then is given up
COMPLETE = "once that is mended, `python -m pipeline.record` completes the record."
REPEAT = "once that is mended, the same command completes the record."
BY_ID = "MLFLOW_EXPERIMENT_ID"
_shared: dict[str, "Record"] = {}


class Record:
    """Messages to the recorder, which takes them in order; see `pipeline.tracking.recorder`."""

    def __init__(self, tracking: Tracking, results: Path, complete: str = COMPLETE):
        self.uri = masked(tracking.uri)  # as it is shown and stored; the recorder gets the real one
        self.owner = False  # whether this process made the sweep's run
        self._complete = complete
        if os.environ.get(BY_ID) and not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            log.warning(
                "%s is not read: the record goes to the experiment %r; "
                "MLFLOW_EXPERIMENT_NAME=NAME chooses another",
                BY_ID,
                tracking.experiment,
            )
        self._results = shown(results)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.recorder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.send("connect", **tracking.model_dump())

    def send(self, do: str, *, ask: bool = False, **arguments: Any) -> None:
        """Send a message, or a question; what cannot be delivered is said by `close`."""
        assert self._process.stdin is not None
        message = json.dumps({"do": do, "ask": ask} | arguments)
        message = message if do == "connect" else masked(message)
        try:
            print(message, file=self._process.stdin, flush=True)
        except OSError:  # the recorder is gone: `close` finds no answer
            return

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a question and wait for its answer, which always has `problem`."""
        self.send(do, ask=True, **arguments)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to a question sent earlier."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"problem": "the recorder has stopped"}

    def drop(self) -> None:
        """Stop the recorder of a process that has only asked."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """Wait until the store has everything, or say what is missing and what to do."""
        self.send("close")
        try:
            output, _ = self._process.communicate(timeout=END_SECONDS)
            answers = [json.loads(line) for line in output.splitlines()]
            problem = answers[-1]["problem"] if answers else "the recorder has stopped"
        except subprocess.TimeoutExpired:
            self._process.kill()
            problem = f"no answer within {END_SECONDS} s"
        if problem:
            log.warning(
                "MLflow at %s has no complete record of this run: %s. The results are in %s; %s",
                self.uri,
                problem,
                self._results,
                self._complete,
            )


def of_sweep(sweep: dict[str, Any], own: Tracking) -> Tracking:
    """Return the store of a sweep, as sweep.json has it, for a process that records a trial.

    A password is not in that file, but in the process's own settings. These may lack the rest, as
    when another machine has another environment.
    """
    told = Tracking(**sweep["tracking"])
    return told.model_copy(update={"uri": own.uri}) if masked(own.uri) == told.uri else told


def shared(tracking: Tracking, sweep: Path) -> Record:
    """Return the record that all trials of a sweep share in this process."""
    key = f"{tracking.uri} {tracking.experiment}"
    if key not in _shared:
        _shared[key] = Record(tracking, sweep, REPEAT)
    return _shared[key]


def described(run_id: str, uri: str, own: Tracking) -> str:
    """Return how to name a run in the store at `uri` to somebody who may have deleted it."""
    if not run_id or uri != masked(own.uri):
        return f"{run_id} (in {uri})" if run_id else "not recorded"
    record = Record(own, Path())
    gone = record.ask("status", run_id=run_id).get("status") == "GONE"
    record.drop()
    return f"{run_id}, which is gone: the sweep's command records it again" if gone else run_id


@contextmanager
def ended(record: Record) -> Iterator[Record]:
    """End the run as FINISHED, or as FAILED or KILLED when the block is left by an exception."""
    try:
        yield record
    except (KeyboardInterrupt, SystemExit):
        record.send("end", status="KILLED")
        raise
    except BaseException as error:
        record.send("tags", tags={"error": f"{type(error).__name__}: {error}"[:5000]})
        record.send("end", status="FAILED")
        raise
    record.send("end", status="FINISHED")


@contextmanager
def recorded(record: Record) -> Iterator[Record]:
    """End the run as `ended` does, and wait until the store has everything."""
    try:
        with ended(record):
            yield record
    finally:
        record.close()
