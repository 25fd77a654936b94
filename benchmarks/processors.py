"""The same bits on other processors: the project's code under qemu-user, against this machine.

A few thousand rows are trained on in many ways (`benchmarks.bits`), and the stages that compute are
run on all data, for fewer epochs: natively on 1, 2 and 16 threads, then on emulated processors.
What is emulated are instruction sets and what a processor says of its caches, not the caches.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bits import WAYS
from benchmarks.training import machine

QEMU = "qemu-x86_64"
MODELS = ["Haswell", "EPYC-Rome", "Cascadelake-Server"]
SMALL = 4  # of the ways to train
THREADS = (1, 2, 16)
STAGES = (("preprocess",), ("train", "train.epochs=5"), ("evaluate",), ("plot",))
Bits = dict[str, str]  # hash by what it is of


def run(command: list[str], emulated: str = "", threads: int = 0) -> str:
    """Run Python with these arguments, on an emulated processor if one is named; return its output.

    Processes that it starts, as the recorder of MLflow, are not emulated.
    """
    emulator = [QEMU, "-cpu", emulated] if emulated else []
    more = {"TF_NUM_INTEROP_THREADS": str(threads)} if threads else {}
    done = subprocess.run(
        [*emulator, sys.executable, *command],
        env=os.environ | more,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{emulated or 'native'} {command}: {done.stderr}")
    return done.stdout


def of_ways(number: int, emulated: str = "", threads: int = 0) -> Bits:
    """Return the hashes of so many ways to train."""
    lines = run(["-m", "benchmarks.bits", str(number)], emulated, threads).splitlines()
    return dict(line.rsplit(": ", 1) for line in lines)


def of_stages(emulated: str = "", threads: int = 0) -> Bits:
    """Run the stages from raw files into a temporary folder; return the hashes of their outs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = [f"paths.output={folder}", f"paths.processed={folder}/data/processed"]
        store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        for stage, *more in STAGES:
            run(["-m", f"pipeline.{stage}", *where, store, *more], emulated, threads)
        outs = sorted(path for path in folder.rglob("*/*") if path.is_file())
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in outs
            if "mlruns" not in path.parts
        }


@contextmanager
def said(what: str) -> Iterator[None]:
    """Say how long something took."""
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """Print the table; exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help=f"of `{QEMU} -cpu help`")
    parser.add_argument("--small", action="store_true", help=f"only {SMALL} ways to train")
    arguments = parser.parse_args()
    if not shutil.which(QEMU):
        sys.exit(f"{QEMU} is needed: `apt-get install qemu-user` (Debian, Ubuntu), as root")
    for model in arguments.models:
        command = [QEMU, "-cpu", model, "/bin/true"]
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
            sys.exit(f"{model}: is not a processor of `{QEMU} -cpu help`")
    number = SMALL if arguments.small else len(WAYS)

    def bits(emulated: str = "", threads: int = 0) -> Bits:
        with said(emulated or f"native, threads: {threads}"):
            found = of_ways(number, emulated, threads)
            return found if arguments.small else found | of_stages(emulated, threads)

    version = subprocess.run([QEMU, "--version"], capture_output=True, encoding="utf-8", check=True)
    print(f"{machine()}\n{version.stdout.splitlines()[0]}\n", flush=True)
    columns = {f"native, {count}": bits(threads=count) for count in THREADS}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as side_by_side:
        emulated = side_by_side.map(bits, arguments.models)
        columns |= dict(zip(arguments.models, emulated, strict=True))
    expected = next(iter(columns.values()))
    print(f"\n{'':40}  {'  '.join(columns)}")
    for what in expected:
        same = [one.get(what) == expected[what] for one in columns.values()]
        words = ["same" if word else "DIFFERS" for word in same]
        cells = [word.ljust(len(name)) for word, name in zip(words, columns, strict=True)]
        print(f"{what:40}  {'  '.join(cells)}".rstrip())
    sys.exit(any(one != expected for one in columns.values()))


if __name__ == "__main__":
    main()
