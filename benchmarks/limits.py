"""A command under a memory limit, and what it used, by control groups of Linux; needs root."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MIB = 2**20
PERIOD = 0.02  # seconds between two looks at the memory of the command
GROUPS = Path("/sys/fs/cgroup")


class Usage(NamedTuple):
    """What a command and its children used: the most MiB, and the second of each line printed."""

    seconds: float
    cpu_seconds: float
    anonymous: float
    whole: float
    lines: list[tuple[float, str]]


class Group:
    """A control group of version 1 or 2, which counts the page cache of files as well."""

    def __init__(self, folder: Path, limit: int):
        one = (folder / "memory.limit_in_bytes").exists()
        self.folder = folder
        self._peak = folder / ("memory.max_usage_in_bytes" if one else "memory.peak")
        self._anonymous = "total_rss " if one else "anon "
        (folder / ("memory.limit_in_bytes" if one else "memory.max")).write_text(
            str(limit), encoding="utf-8"
        )

    def anonymous(self) -> int:
        """Return the bytes in use that Linux cannot free by dropping its cache of files."""
        lines = (self.folder / "memory.stat").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith(self._anonymous)).split()[1])

    def whole(self) -> int:
        """Return the most bytes that were in use so far, the cache of files included."""
        return int(self._peak.read_text(encoding="utf-8"))


@contextmanager
def limited(limit: int) -> Iterator[Group]:
    """Make a group that may take so many bytes.

    A process in it that needs more, after all caches have been given back, is killed.
    """
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    own = dict(line.split(":", 2)[1:] for line in lines)
    if "memory" in own:  # version 1
        base = GROUPS / "memory" / own["memory"].lstrip("/")
    else:  # in version 2, a group that has groups in it has no processes
        base = (GROUPS / own[""].lstrip("/")).parent
    folder = base / f"limited-{os.getpid()}"
    try:
        folder.mkdir()
        group = Group(folder, limit)
    except OSError as error:
        sys.exit(f"a control group with a memory limit cannot be made, which takes root: {error}")
    try:
        yield group
    finally:
        # a child may outlive its parent
        while (folder / "cgroup.procs").read_text(encoding="utf-8"):
            time.sleep(PERIOD)
        folder.rmdir()


def measure(command: list[str], folder: Path, environment: dict[str, str], limit: int) -> Usage:
    """Run a command in a folder under a limit of bytes; if it fails, show its output and end."""
    with limited(limit) as group:
        start, cpu = time.perf_counter(), cpu_seconds()
        enter = ["sh", "-c", f'echo $$ > "{group.folder}/cgroup.procs" && exec "$@"', "sh"]
        process = subprocess.Popen(
            [*enter, *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        anonymous, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(PERIOD):
                anonymous.append(group.anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert process.stdout is not None
        lines = [(time.perf_counter() - start, line.rstrip()) for line in process.stdout]
        code = process.wait()
        taken, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        done.set()
        watcher.join()
        usage = Usage(taken, cpu, max(anonymous) / MIB, group.whole() / MIB, lines)
    if code:
        sys.exit(f"{' '.join(command)}: {code}\n" + "\n".join(line for _, line in lines))
    return usage


def cpu_seconds() -> float:
    """Return the processor seconds of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
