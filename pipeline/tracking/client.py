"""The record of a run, kept by a process of its own, so that it never costs a run its results.

The stage sends messages and goes on. `pipeline.tracking.recorder` imports MLflow and talks to the
store meanwhile. A store that is slow or down delays only the end of the stage, by some seconds.
"""

import itertools
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files import shown
from pipeline.masking import masked
from pipeline.settings.schema import Tracking

log = logging.getLogger(__name__)
END_SECONDS = 90  # after so long without an answer, a store is given up
COMPLETE = "once that is mended, `python -m pipeline.record` completes the record."
REPEAT = "once that is mended, the same command completes the record."
BY_ID = "MLFLOW_EXPERIMENT_ID"
STORE = 0  # the number of messages about the store itself; runs are numbered from 1


@dataclass(frozen=True)
class Contents:
    """What a run holds.

    Attributes
    ----------
    problem : str
        Why that could not be found out, empty if it could.
    name : str
        Empty if there is no such run.
    experiment_id : str
    metrics : dict of str to float
    figures : bool
        Whether it has any.
    """

    problem: str
    name: str = ""
    experiment_id: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    figures: bool = False


class Client:
    """A recorder process, and the pipes to it; one is enough for all runs of a process.

    Every message and every answer has the number of the run that it is about, or STORE.

    Parameters
    ----------
    tracking : Tracking
        The store.
    results : Path
        The folder that `close` names if the record is not complete.
    complete : str
        What `close` then says about how to complete it; without it, that follows from how the
        command was called.
    """

    def __init__(self, tracking: Tracking, results: Path, complete: str = ""):
        self.uri = masked(tracking.uri)  # as it is shown and stored; the recorder gets the real one
        if not complete:  # `pipeline.record` refuses what overrides have made
            from pipeline.verification.unchanged import overrides

            complete = REPEAT if overrides() else COMPLETE
        self._results, self._complete = shown(results), complete
        if os.environ.get(BY_ID) and not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            log.warning(
                "%s is not read: the record goes to the experiment %r; "
                "MLFLOW_EXPERIMENT_NAME=NAME chooses another",
                BY_ID,
                tracking.experiment,
            )
        self.numbers = itertools.count(STORE + 1)
        self._answers: dict[int, dict[str, Any]] = {}  # that nobody has asked for yet
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking.recorder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._write(tracking.model_dump_json())

    def send(self, to: int, do: str, **arguments: Any) -> None:
        """Send a message or a question; if it cannot be delivered, `close` says so."""
        self._write(masked(json.dumps({"to": to, "do": do} | arguments)))

    def ask(self, to: int, question: str, **arguments: Any) -> dict[str, Any]:
        """Send a question and wait for its answer, as `answer` returns it."""
        self.send(to, question, **arguments)
        return self.answer(to)

    def answer(self, to: int) -> dict[str, Any]:
        """Wait for the answer to a question, which has a `problem`, empty if there is none."""
        assert self._process.stdout is not None
        while to not in self._answers:
            line = self._process.stdout.readline()
            if not line:
                return {"problem": "the recorder has stopped"}
            read = json.loads(line)
            self._answers[read.pop("to")] = read
        return self._answers.pop(to)

    def status(self, run_id: str) -> dict[str, Any]:
        """Return the `status` of any run, which may be GONE, and its `parent`."""
        return self.ask(STORE, "status", run_id=run_id)

    def adopt(self, run_id: str, parent: str) -> None:
        """Put any run below another one."""
        self.ask(STORE, "adopt", run_id=run_id, parent=parent)

    def tested(self, run_id: str, metrics: dict[str, float], files: list[Path], line: str) -> None:
        """Log what any run that has ended reaches on the test set, and a line about it."""
        paths = [str(path) for path in files]
        self.send(STORE, "tested", run_id=run_id, metrics=metrics, files=paths, line=line)

    def wait(self) -> None:
        """Wait until the recorder has tried to do all that it was told."""
        self.ask(STORE, "wait")

    def kill(self) -> None:
        """Stop the recorder of a process that has only asked questions."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        """Wait until the store has everything, or say what is missing and what to do."""
        self.send(STORE, "close")
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

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            print(line, file=self._process.stdin, flush=True)
        except OSError:  # the recorder is gone: `answer` and `close` say so
            return


def described(run_id: str, uri: str, own: Tracking) -> str:
    """Return how to name a run in the store at `uri` to somebody who may have deleted it."""
    if not run_id or uri != masked(own.uri):
        return f"{run_id} (in {uri})" if run_id else "not recorded"
    client = Client(own, Path())
    gone = client.status(run_id).get("status") == "GONE"
    client.kill()
    return f"{run_id}, which is gone: the sweep's command records it again" if gone else run_id
