"""The recorder: a process that reads messages, a line of JSON each, and does them in MLflow.

Each run has a queue of its own. It is worked on in order, up to the first message that the store
does not take, which is tried again later; so nothing about a run is done before the run has begun,
and no run's failure is another's. When the stage dies without a word, its runs end as KILLED.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, TextIO

from pipeline.errors import first_line
from pipeline.masking import masked
from pipeline.tracking.client import STORE
from pipeline.tracking.open_run import OpenRun
from pipeline.tracking.store import Store

PACE_SECONDS = 0.5  # messages wait so long for others, which are then sent with them
RETRY_SECONDS = 10.0  # a store that did not answer is left alone for this long

Message = dict[str, Any]
OPENING: dict[str, Callable[..., OpenRun | None]] = {"begin": Store.begin, "find": Store.find}
OF_RUN: dict[str, Callable[..., None]] = {
    "config": OpenRun.config,
    "data": OpenRun.data,
    "end": OpenRun.end,
    "files": OpenRun.files,
    "kill_children": OpenRun.kill_children,
    "metrics": OpenRun.metrics,
    "model": OpenRun.model,
    "origin": OpenRun.origin,
    "params": OpenRun.params,
    "result": OpenRun.result,
    "tags": OpenRun.tags,
}
OF_STORE: dict[str, Callable[..., Message]] = {"adopt": Store.adopt, "status": Store.status}


class Queue:
    """The messages about one run that have not been done."""

    def __init__(self, store: Store):
        self._store = store
        self._run: OpenRun | None = None
        self._begun = self._given_up = False
        self.waiting: list[tuple[str, Message]] = []
        self.problem = ""

    def add(self, do: str, arguments: Message) -> None:
        """Let a message wait; metrics that wait behind metrics become one message with them."""
        if self._given_up:
            return
        self._begun = {"begin": True, "end": False}.get(do, self._begun)
        if self.waiting and do == self.waiting[-1][0] == "metrics":
            self.waiting[-1][1]["points"] += arguments["points"]
        else:
            self.waiting.append((do, arguments))

    def work(self, most: int | None = None) -> None:
        """Do what waits, or no more than the first messages, until one fails."""
        try:
            self._store.connect()
            for do, arguments in self.waiting[:most]:
                if do in OPENING:
                    self._run = OPENING[do](self._store, **arguments)
                elif self._run:
                    OF_RUN[do](self._run, **arguments)
                else:
                    raise LookupError("the run was not found")
                self.waiting.pop(0)
            self.problem = ""
        except Exception as error:  # whatever a store or its driver raises must not end the record
            self.problem = _reason(error)

    def id(self) -> Message:
        """Return the run's id; if the run cannot be begun, nothing is done about it any more."""
        if not self._run and not self._given_up:
            self.work(1)
        if self._run:
            return {"problem": "", "run_id": self._run.run_id}
        self.waiting, self._begun, self._given_up = [], False, True
        return {"problem": self.problem}

    def contents(self) -> Message:
        """Do what waits, and return what the run holds, if there is one."""
        self.work()
        if self.problem or not self._run:
            return {"problem": self.problem}
        try:
            return {"problem": "", **self._run.contents()}
        except Exception as error:
            return {"problem": _reason(error)}

    def close(self) -> None:
        """End a run that has begun and not ended, as the stage has died."""
        if self._begun:
            self.add("end", {"status": "KILLED"})


class Recorder:
    """The store, the queues of the runs by their numbers, and where answers go."""

    def __init__(self, store: Store, answers: TextIO):
        self._store, self._answers = store, answers
        self._queues: dict[int, Queue] = {}
        self._next = 0.0  # when the queues are worked on again

    def pause(self) -> float | None:
        """Return for how many seconds nothing is to be done; None if nothing waits."""
        waits = not self._store.connected or any(one.waiting for one in self._queues.values())
        return max(0.0, self._next - time.monotonic()) if waits else None

    def work(self) -> str:
        """Do what can be done of all that waits; return a problem, empty if there is none.

        A sweep's run is begun before its trials' runs, and is seen to after them.
        """
        problem = ""
        try:
            self._store.connect()
        except Exception as error:
            problem = _reason(error)
        for queue in reversed([one for one in self._queues.values() if one.waiting]):
            if self._store.connected:
                queue.work()
            problem = problem or queue.problem
        self._next = time.monotonic() + (RETRY_SECONDS if problem else PACE_SECONDS)
        return problem

    def take(self, to: int, do: str, **arguments: Any) -> None:
        """Answer a question, or let a message wait."""
        queue = self._queues.setdefault(to, Queue(self._store)) if to != STORE else None
        if not queue:
            self._answer(to, self._of_store(do, arguments))
        elif do == "id":
            self._answer(to, queue.id())
        elif do == "contents":
            self._answer(to, queue.contents())
        else:
            queue.add(do, arguments)

    def close(self) -> None:
        """Do all that waits, once more, and answer whether everything is done."""
        for queue in self._queues.values():
            queue.close()
        problem = self.work()
        lost = [queue.problem for queue in self._queues.values() if queue.problem]
        self._answer(STORE, {"problem": next(iter(lost), problem)})

    def _of_store(self, do: str, arguments: Message) -> Message:
        if do == "wait":
            return {"problem": self.work()}
        try:
            self._store.connect()
            return {"problem": "", **OF_STORE[do](self._store, **arguments)}
        except Exception as error:
            return {"problem": _reason(error)}

    def _answer(self, to: int, answer: Message) -> None:
        with suppress(OSError):  # a stage that has died reads no answer
            print(json.dumps({"to": to} | answer), file=self._answers, flush=True)


def main() -> NoReturn:
    """Do the messages on standard input, the first of which has the store's settings."""
    # the stage, which gets them too, ends the run
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    recorder = Recorder(Store(**json.loads(sys.stdin.readline())), answers)
    messages: SimpleQueue[Message] = SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    while True:
        try:
            message = messages.get(timeout=recorder.pause())
        except Empty:
            recorder.work()
            continue
        if message["do"] == "close":
            recorder.close()
            os._exit(0)  # a store's own threads must not hold the process
        recorder.take(**message)


def _read(messages: SimpleQueue[Message]) -> None:
    for line in sys.stdin:
        messages.put(json.loads(line))
    messages.put({"do": "close"})


def _reason(error: BaseException) -> str:
    """Return the innermost reason of an error, in one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return masked(first_line(error))


if __name__ == "__main__":
    main()
