"""One `dvc repro STAGE`, cut off by SIGKILL at a chosen moment of that stage."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.conftest import Project

VICTIMS = {"stage": 50, "everything": 25, "recorder": 15, "dvc": 10}  # how often, in percent
RECORDED = ("train", "evaluate", "plot")
POLL_SECONDS = 0.005
WRITING_POLL_SECONDS = 0.0005
AFTER_SECONDS = 0.5  # after a stage has ended, in which DVC takes its outs over
WRITING = 0.5  # share of the kills that fall between a stage's first and its last change of files


def draw(stage: str, chance: random.Random) -> str:
    """Return what to kill: the stage's process, its recorder, DVC or everything."""
    victims = [name for name in VICTIMS if name != "recorder" or stage in RECORDED]
    return chance.choices(victims, [VICTIMS[name] for name in victims])[0]


def repro(
    project: Project, stage: str, *, outs: list[str], seconds: float, chance: random.Random
) -> tuple[str, str]:
    """Run `dvc repro STAGE` and kill a victim; print which and when, and return DVC's output.

    The moment is drawn from the whole life of the stage, or from the changes in its outs' folders.
    If it comes too late, nothing is said.
    """
    victim = draw(stage, chance)
    process, when = project.start("dvc", "repro", stage, stderr=subprocess.STDOUT), ""
    one = find(process, f"pipeline.{stage}")
    if one and victim == "recorder":
        one = find(process, "pipeline.tracking.recorder")
    if one:
        if victim != "recorder" and chance.random() < WRITING:
            when = writing(one, {project / name for name in outs}, chance)
        else:
            when = sleep(seconds + AFTER_SECONDS * (victim in ("dvc", "everything")), chance)
        if not killed(process, one, victim):
            when = ""
    output, _ = process.communicate()
    return when and f"{stage}: {victim} killed {when}", output


def find(process: "subprocess.Popen[str]", module: str) -> psutil.Process | None:
    """Wait for a process of the group that runs a module; return None if none has when DVC ends."""
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
    """Wait for a random time, up to the longest."""
    seconds = chance.uniform(0, longest)
    time.sleep(seconds)
    return f"after {seconds:.2f} s"


def writing(process: psutil.Process, outs: set[Path], chance: random.Random) -> str:
    """Wait for a random time between the first and the last change of names beside the outs."""
    folders, most = {path.parent for path in outs}, 3 * len(outs)
    changes, seen, before = chance.randint(1, most), 0, names(folders)
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
    """Kill one process, DVC or everything; return whether it was still running."""
    if victim in ("dvc", "everything"):
        if process.poll() is not None:
            return False
        (os.killpg if victim == "everything" else os.kill)(process.pid, signal.SIGKILL)
        return True
    if not is_alive(one):
        return False
    one.kill()
    return True
