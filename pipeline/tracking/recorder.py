"""The recorder: a process that reads messages, a line of JSON each, and does them in MLflow.

What the store does not take waits and is tried again; messages are done in their order. When the
stage dies without a word, its runs are ended as KILLED. `store` and `open_run` of
this package have the messages.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from pipeline.errors import first_line
from pipeline.masking import masked
from pipeline.tracking.store import Store

OPENS = {"begin": 1, "reopen": 1, "end": -1}  # runs that a message leaves open
PACE_SECONDS = 0.5  # messages wait so long for others, which are then sent with them
RETRY_SECONDS = 10.0  # a store that did not answer is left alone for this long


def main() -> None:
    """Do the messages on standard input; answer questions on standard output."""
    # the stage, which gets them too, ends the run
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    threading.Thread(target=_read, args=(messages,), daemon=True).start()
    store, next_try, problem, open_runs = Store(), 0.0, "", 0
    lost = missing = ""  # why the run that messages are about, or an earlier one, was not begun
    waiting: list[dict[str, Any]] = []
    while True:
        pause = max(0.0, next_try - time.monotonic()) if waiting else None
        try:
            message = messages.get(timeout=pause)
        except Empty:
            message = {"do": "flush", "ask": False}
        last = message is None or message["do"] == "close"
        asked = message is not None and (last or message.pop("ask"))
        if lost and message is not None and not asked and message["do"] != "flush":
            lost = "" if message["do"] == "end" else lost
            continue
        if message is not None and not last:
            _add(waiting, message)
            open_runs += OPENS.get(message["do"], 0)
        elif last:
            waiting += [{"do": "end", "status": "KILLED"}] * open_runs
        if last or asked or (messages.empty() and time.monotonic() >= next_try):
            answer, problem = _do(store, waiting)
            next_try = time.monotonic() + (RETRY_SECONDS if problem else PACE_SECONDS)
            if problem and asked and message is not None and not last:  # asked once
                waiting.remove(message)
                open_runs -= OPENS.get(message["do"], 0)
            if asked and message is not None and message["do"] == "begin":
                lost, missing = problem, missing or problem
            if asked:
                with suppress(OSError):  # a stage that has died reads no answer
                    reply = {"problem": problem or (missing if last else "")} | (answer or {})
                    print(json.dumps(reply), file=answers, flush=True)
        if last:
            os._exit(0)  # nothing is left to do; a store's own threads must not hold the process


def _add(waiting: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Let a message wait; metrics that wait behind metrics become one message with them."""
    before = waiting[-1] if waiting else {}
    if message["do"] == before.get("do") == "metrics":
        before["points"] += message["points"]
    else:
        waiting.append(message)


def _do(store: Store, waiting: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, str]:
    """Do what waits, in order, until something fails; return the last answer and the problem."""
    answer = None
    while waiting:
        arguments = dict(waiting[0])
        try:
            do = arguments.pop("do")
            answer = getattr(store if hasattr(Store, do) else store.run, do)(**arguments)
        except Exception as error:  # whatever a store or its driver raises must not end the record
            return None, _reason(error)
        waiting.pop(0)
    return answer, ""


def _read(messages: "SimpleQueue[dict[str, Any] | None]") -> None:
    for line in sys.stdin:
        messages.put(json.loads(line))
    messages.put(None)


def _reason(error: BaseException) -> str:
    """Return the innermost reason of an error, in one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return masked(first_line(error))


if __name__ == "__main__":
    main()
