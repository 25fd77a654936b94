"""Processes that outlive the command that starts them, kept in a folder until they are stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

READY_SECONDS = 60
END_SECONDS = 20


class Processes:
    """Processes that work in a folder, which keeps their output and, in `pids`, their numbers."""

    def __init__(self, folder: Path):
        self.folder, self._pids = folder, folder / "pids"
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *command: str, name: str, user: str | None = None) -> None:
        """Start a process; its output goes to NAME.out."""
        with (
            (self.folder / f"{name}.out").open("w", encoding="utf-8") as out,
            self._pids.open("a", encoding="utf-8") as pids,
        ):
            self._started[name] = process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                start_new_session=True,
            )
            print(process.pid, file=pids)

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a process is ready.

        Raises
        ------
        SystemExit
            With the end of its output, if it has ended or is not ready in time.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if time.monotonic() > deadline or self._started[name].poll() is not None:
                lines = (self.folder / f"{name}.out").read_text(encoding="utf-8").splitlines()
                raise SystemExit("\n".join([f"{name} does not become ready:", *lines[-20:]]))
            time.sleep(0.2)

    def stop(self) -> None:
        """End all processes, the last one first."""
        pids = self._pids.read_text(encoding="utf-8").split() if self._pids.exists() else []
        for pid in map(int, reversed(pids)):
            for number in (signal.SIGTERM, signal.SIGKILL):
                deadline = time.monotonic() + END_SECONDS
                if self._owns(pid):
                    with suppress(ProcessLookupError):
                        os.killpg(pid, number)
                while self._owns(pid) and time.monotonic() < deadline:
                    time.sleep(0.1)

    def _owns(self, pid: int) -> bool:
        """Return whether a process runs and works in the folder, so that it is one of these."""
        with suppress(OSError):
            return Path(f"/proc/{pid}/cwd").resolve(strict=True).is_relative_to(self.folder)
        return False


def output(*command: str) -> str:
    """Return what a command prints, whether or not it succeeds."""
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout
