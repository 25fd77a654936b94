"""Signals on which a command ends in order: it closes its run and removes temporary files."""

import signal
import sys
from typing import NoReturn


def end_in_order() -> None:
    """Let this process exit by an exception when it is terminated or its terminal is closed."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminated)


def _terminated(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not cut the ending off
    sys.exit(128 + number)
