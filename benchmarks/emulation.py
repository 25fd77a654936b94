"""Python on this processor, or on one that qemu-user emulates."""

import os
import shutil
import subprocess
import sys
from functools import cache
from typing import NamedTuple

from benchmarks import aarch64

QEMU = "qemu-x86_64"
DECIDING = ("OPENBLAS_", "NPY_")  # variables that would choose the kernels of another processor
PACKAGE = "qemu-user"  # of Debian and Ubuntu; it has both emulators


class Processor(NamedTuple):
    """The emulated processor with this name, or this one, with so many threads."""

    model: str = ""
    threads: int = 0

    def __str__(self) -> str:
        return self.model or f"native, {self.threads}"

    def run(self, *arguments: str) -> str:
        """Run Python with these arguments; return its output.

        Processes that it starts, as the recorder of MLflow, are emulated on ARM processors alone.
        """
        command, more = [sys.executable], {"QEMU_CPU": self.model}
        if self.model in arm_models():
            command = [str(aarch64.python())]
        elif self.model:
            command = [QEMU, sys.executable]
        else:
            more = {"TF_NUM_INTEROP_THREADS": str(self.threads)}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(DECIDING)}
        done = subprocess.run(
            [*command, *arguments],
            env=kept | more,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{self}: {' '.join(arguments)}: {done.stderr}")
        return done.stdout


@cache
def arm_models() -> frozenset[str]:
    """Return the names of the ARM processors that can be emulated."""
    command = [aarch64.QEMU, "-cpu", "help"]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    return frozenset(done.stdout.split())


def prepare(models: list[str]) -> str:
    """Make sure that these processors can be emulated; return the emulator's version.

    The emulators are installed if they are missing and this can be done. Exits if it cannot.
    """
    if not (shutil.which(QEMU) and shutil.which(aarch64.QEMU)):
        if os.geteuid() or not shutil.which("apt-get"):
            sys.exit(f"{QEMU} and {aarch64.QEMU} are needed: `apt-get install {PACKAGE}`, as root")
        aarch64.call("apt-get", "-qq", "update")
        aarch64.call("apt-get", "-qq", "install", "--yes", "--no-install-recommends", PACKAGE)
    for model in models:
        if model in arm_models():
            aarch64.python()
            continue
        command = [QEMU, "-cpu", model, "/bin/true"]
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
            sys.exit(f"{model}: is neither of `{QEMU} -cpu help` nor of `{aarch64.QEMU} -cpu help`")
    version = subprocess.run(
        [QEMU, "--version"], stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return version.stdout.splitlines()[0]
