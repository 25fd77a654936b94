"""Slurm jobs that submitit has submitted, watched without Slurm's accounting.

submitit itself asks `sacct`, which not every cluster has. This module looks at the files that the
jobs have written, and asks `squeue`.
"""

import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from submitit import Job

POLL_SECONDS = 5.0
GRACE_SECONDS = 10.0  # within which a shared file system shows what an ended job has written
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
    "UNKNOWN",  # not in squeue's list, as when an array's job is cancelled before it starts
}


class Jobs:
    """Jobs that have not ended."""

    def __init__(self, jobs: "Sequence[Job[Any]]"):
        self.left = {job.job_id: job for job in jobs}
        self._gone: dict[str, float] = {}  # since when squeue says that a job has ended
        self._poll, self._grace = POLL_SECONDS, GRACE_SECONDS

    def ended(self, seconds: float = math.inf) -> "Iterator[tuple[Job[Any], str]]":
        """Yield each job as it ends, with its state; stop when all have, or after some time."""
        deadline = time.monotonic() + seconds
        while self.left and time.monotonic() < deadline:
            states = _states()
            for name, job in list(self.left.items()):
                if state := self._end(job, states):
                    del self.left[name]
                    yield job, state
            if self.left:
                time.sleep(self._poll)

    def _end(self, job: "Job[Any]", states: dict[str, str] | None) -> str:
        """Return the state in which a job has ended, empty if it has not.

        A job that Slurm starts again is back in squeue's list before the grace is over.
        """
        name, folder = job.job_id, job.paths.folder
        with suppress(OSError):  # a change of the folder makes NFS look at it again
            folder.chmod(folder.stat().st_mode)
        if job.paths.result_pickle.exists():
            return "COMPLETED"
        if states is None or (state := states.get(name, "UNKNOWN")) not in ENDED:
            self._gone.pop(name, None)
            return ""
        since = self._gone.setdefault(name, time.monotonic())
        return state if time.monotonic() - since >= self._grace else ""

    def cancel(self) -> None:
        """Cancel the jobs that have not ended, and wait no longer for what they write."""
        self._poll, self._grace = 0.5, 0.0
        subprocess.run(["scancel", *self.left], check=False)


def _states() -> dict[str, str] | None:
    """Return the state of the user's jobs, or None if Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i %T"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        return None
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2}
