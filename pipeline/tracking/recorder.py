"""The recorder: a process that reads messages, a line of JSON each, and carries them out in MLflow.

Each run has a queue of its own, which is worked off in order. A message that the store does not
take is tried again later, and those behind it wait. So no message about a run comes before its
beginning, and a failure of one run does not hold up another. If the stage dies, its runs end as
KILLED.
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
from typing import Any, NoReturn

from pipeline.errors import first_line
from pipeline.masking import masked
from pipeline.tracking.client import STORE
from pipeline.tracking.open_run import OpenRun
from pipeline.tracking.store import Store

PACE_SECONDS = 0.5  # so long, messages wait for others, to be sent together
RETRY_SECONDS = 10.0  # so long, a store that did not answer is left alone
QUESTIONS = ("adopt", "contents", "id", "status")

Message = dict[str, Any]
Do = Callable[..., Any]
OPENING: dict[str, Do] = {"begin": Store.begin, "find": Store.find}
OF_STORE: dict[str, Do] = {"adopt": Store.adopt, "status": Store.status, "tested": Store.tested}
OF_RUN: dict[str, Do] = {name: do for name, do in vars(OpenRun).items() if name[0] != "_"}


class Queue:
    """The messages about one run, or about the store itself, that have not been carried out."""

    def __init__(self, store: Store):
        self._store = store
        self._run: OpenRun | None = None
        self._begun = self._given_up = False
        self.waiting: list[tuple[str, Message]] = []
        self.problem = ""

    def add(self, do: str, arguments: Message) -> None:
        """Append a message; metrics behind metrics become one message with them."""
        if self._given_up:
            return
        self._begun = {"begin": True, "end": False}.get(do, self._begun)
        if self.waiting and do == self.waiting[-1][0] == "metrics":
            self.waiting[-1][1]["points"] += arguments["points"]
        else:
            self.waiting.append((do, arguments))

    def work(self, most: int | None = None) -> Message:
        """Carry out the first `most` messages, or all, until one fails; return the last answer."""
        answer = None
        try:
            self._store.connect()
            for do, arguments in self.waiting[:most]:
                answer = self._do(do, arguments)
                self.waiting.pop(0)
            self.problem = ""
        except Exception as error:  # a store and its driver raise many kinds; recording goes on
            answer, self.problem = None, _reason(error)
        return {"problem": self.problem} | (answer or {})

    def ask(self, question: str, arguments: Message) -> Message:
        """Return the answer to a question; one that cannot be answered now is dropped."""
        if question != "id":
            self.add(question, arguments)
            answer = self.work()
            if self.problem:
                self.waiting.pop()
            return answer
        if not self._run and not self._given_up:
            self.work(1)
        if self._run:
            return {"problem": "", "run_id": self._run.run_id}
        self.waiting, self._begun, self._given_up = [], False, True
        return {"problem": self.problem}

    def close(self) -> None:
        """End a run that has begun and has not ended, because the stage has died."""
        if self._begun:
            self.add("end", {"status": "KILLED"})

    def _do(self, do: str, arguments: Message) -> Any:
        if do in OF_STORE:
            return OF_STORE[do](self._store, **arguments)
        if do in OPENING:
            self._run = OPENING[do](self._store, **arguments)
            return None
        if self._run:
            return OF_RUN[do](self._run, **arguments)
        if do == "contents":
            return {}  # of no run
        raise LookupError("the run was not found")


def main() -> NoReturn:
    """Carry out the messages on standard input, the first of which has the store's settings."""
    # the stage gets these signals too, and ends the run
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    store = Store(**json.loads(sys.stdin.readline()))
    messages: SimpleQueue[Message] = SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    queues, due = {STORE: Queue(store)}, 0.0
    while True:
        waits = not store.connected or any(queue.waiting for queue in queues.values())
        try:
            message = messages.get(timeout=max(0.0, due - time.monotonic()) if waits else None)
        except Empty:
            done = _work(store, queues)
            due = time.monotonic() + (PACE_SECONDS if done else RETRY_SECONDS)
            continue
        to, do = message.pop("to"), message.pop("do")
        queue = queues.setdefault(to, Queue(store))
        if do == "close":
            for one in queues.values():
                one.close()
        if do in ("close", "wait"):
            _work(store, queues)
            problems = [one.problem for one in queues.values() if one.problem]
            answer = {"problem": next(iter(problems), "")}
        elif do in QUESTIONS:
            answer = queue.ask(do, message)
        else:
            queue.add(do, message)
            continue
        with suppress(OSError):  # a stage that has died reads no answer
            print(json.dumps({"to": to} | answer), file=answers, flush=True)
        if do == "close":
            os._exit(0)  # a store's own threads must not hold the process


def _work(store: Store, queues: dict[int, Queue]) -> bool:
    """Carry out all that waits; return whether nothing is left.

    The run of a sweep, which begins before those of its trials, comes after them.
    """
    waiting = [queue for queue in queues.values() if queue.waiting]
    for queue in [queues[STORE], *reversed(waiting)]:
        queue.work()
        if not store.connected:
            return False
    return not any(queue.waiting for queue in waiting)


def _read(messages: SimpleQueue[Message]) -> None:
    for line in sys.stdin:
        messages.put(json.loads(line))
    messages.put({"to": STORE, "do": "close"})


def _reason(error: BaseException) -> str:
    """Return the innermost cause of an error, in one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return masked(first_line(error))


if __name__ == "__main__":
    main()
