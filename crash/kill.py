"""One `dvc repro`, cut off by SIGKILL at a chosen moment of one of its stages."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.conftest import Project

POLL_SECONDS = 0.005
WRITING_POLL_SECONDS = 0.0005
AFTER_SECONDS = 0.5  # in which DVC takes the outs over, once a stage has ended
WRITING = 0.5  # share of the kills that fall between a stage's first and its last change of files


def start(project: Project) -> "subprocess.Popen[str]":
    """Start `dvc repro` as the first process of a group."""
    return project.start("dvc", "repro", stderr=subprocess.STDOUT)


def lifetimes(project: Project, stages: Iterable[str]) -> dict[str, float]:
    """Run the whole pipeline, undisturbed; return how many seconds each stage lived."""
    process, found = start(project), {}
    for stage in stages:
        one = find(process, f"pipeline.{stage}")
        assert one, f"{stage} did not run: {process.communicate()[0]}"
        started = time.monotonic()
        while is_alive(one):
            time.sleep(POLL_SECONDS)
        found[stage] = time.monotonic() - started
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return found


def repro(
    project: Project,
    stage: str,
    victim: str,
    *,
    outs: list[str],
    seconds: float,
    chance: random.Random,
) -> str:
    """Run `dvc repro` and kill the victim while a stage runs; say when, nothing if too late.

    The moment is drawn from the whole life of the stage, or from the changes in its outs' folders.
    """
    process, happened = start(project), ""
    one = find(process, f"pipeline.{stage}")
    if one and victim == "recorder":
        one = find(process, "pipeline.recorder")
    if one:
        if victim != "recorder" and chance.random() < WRITING:
            happened = writing(one, {project / name for name in outs}, chance)
        else:
            happened = sleep(seconds + AFTER_SECONDS * (victim in ("dvc", "everything")), chance)
        if not killed(process, one, victim):
            happened = ""
    output, _ = process.communicate()
    return happened and f"{happened}\n{output}"


def find(process: "subprocess.Popen[str]", module: str) -> psutil.Process | None:
    """Wait for a process of the group that runs the module; None if there is none to the end."""
    while process.poll() is None:
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError, psutil.Error):
                if os.getsid(int(name)) == process.pid:
                    one = psutil.Process(int(name))
                    if module in one.cmdline():
                        return one
        time.sleep(POLL_SECONDS)
    return None


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def sleep(longest: float, chance: random.Random) -> str:
    """Wait for any time up to the longest."""
    seconds = chance.uniform(0, longest)
    time.sleep(seconds)
    return f"after {seconds:.2f} s"


def writing(process: psutil.Process, outs: set[Path], chance: random.Random) -> str:
    """Wait for the first to the last time that a name beside the outs comes or goes."""
    folders = {path.parent for path in outs}
    changes, seen, before = chance.randint(1, 3 * len(outs)), 0, names(folders)
    while seen < changes and is_alive(process):
        now = names(folders)
        seen += len(now ^ before)
        before = now
        time.sleep(WRITING_POLL_SECONDS)
    return f"after {seen} changes of files"


def names(folders: set[Path]) -> set[tuple[str, int]]:
    """Return the names in the folders, each with its inode."""
    found = set()
    for folder in folders:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            found |= {(entry.path, entry.inode()) for entry in entries}
    return found


def killed(process: "subprocess.Popen[str]", one: psutil.Process, victim: str) -> bool:
    """Kill one process, DVC or everything; tell whether it lived."""
    if victim in ("dvc", "everything"):
        if process.poll() is not None:
            return False
        (os.killpg if victim == "everything" else os.kill)(process.pid, signal.SIGKILL)
        return True
    if not is_alive(one):
        return False
    one.kill()
    return True
