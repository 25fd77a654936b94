"""The same bits on other processors: the project's code under qemu-user, against this machine.

Models are trained in many ways on some thousand rows (`benchmarks.bits`). Then the stages run on
all data: training for some epochs, or for all with --whole, and the evaluation and the figures of
the committed model, which must have the hashes of dvc.lock. All this is done natively on 1, 2 and
16 threads, and then on emulated processors; those of ARM run TensorFlow's package for ARM.
Instruction sets are emulated, and what a processor reports of its caches, but not the caches.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.bits import WAYS
from benchmarks.emulation import Processor, arm_models, prepare
from benchmarks.training import machine
from pipeline.verification import lock
from pipeline.verification.reproduction import md5

TRAINED = ("models/weights.npz", "metrics/history.csv")
Bits = dict[str, str]  # hash by what it is of


class Extent(NamedTuple):
    """How much is computed.

    Attributes
    ----------
    models : list of str
        The emulated processors.
    threads : tuple of int
        Those of the native runs.
    ways : int
        So many ways to train.
    epochs : int
        Of the train stage; 0: as many as in params.yaml.
    x86_stages : bool
        Whether the stages are run on emulated x86 processors too.
    """

    models: tuple[str, ...]
    threads: tuple[int, ...]
    ways: int
    epochs: int
    x86_stages: bool


ARM, X86 = ("neoverse-n1", "a64fx"), ("SandyBridge", "Haswell", "EPYC-Rome", "Cascadelake-Server")
FULL = Extent(ARM + X86, (1, 2, 16), len(WAYS), 5, x86_stages=True)
SMALL = Extent(ARM[:1] + X86[:2], (1,), 2, 1, x86_stages=False)


def bits(processor: Processor, extent: Extent, committed: Bits, expected: Bits) -> Bits:
    """Return the hashes of what a processor computes; say how long it took and what differs."""
    started = time.monotonic()
    lines = processor.run("-m", "benchmarks.bits", str(extent.ways)).splitlines()
    found = dict(line.rsplit(": ", 1) for line in lines)
    if extent.x86_stages or processor.model in ("", *arm_models()):
        found |= stages(processor, extent.epochs, committed)
    differing = [what for what, bit in found.items() if expected.get(what, bit) != bit]
    seconds = time.monotonic() - started
    print(f"{processor}: {seconds:.0f} s; differing: {', '.join(differing) or 'none'}", flush=True)
    return found


def stages(processor: Processor, epochs: int, committed: Bits) -> Bits:
    """Run the stages from raw files into a temporary folder; return the hashes of their outs.

    The committed model is put in the place of the trained one before it is evaluated.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = [f"paths.output={folder}", f"paths.processed={folder}/data/processed"]
        where.append(f"paths.checkpoints={folder}/checkpoints")
        where.append(f"tracking.uri=sqlite:///{folder}/mlflow.db")
        processor.run("-m", "pipeline.preprocess", *where)
        shorter = [f"train.epochs={epochs}"] if epochs else []
        processor.run("-m", "pipeline.train", *where, *shorter)
        trained = {f"{out}, epochs: {epochs or 'all'}": md5(folder / out) for out in TRAINED}
        for out in TRAINED:
            shutil.copyfile(out, folder / out)
        processor.run("-m", "pipeline.evaluate", *where)
        processor.run("-m", "pipeline.plot", *where)
        return trained | {out: md5(folder / out) for out in committed}


def main() -> None:
    """Print the table; exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="processors that qemu-user emulates")
    parser.add_argument("--small", action="store_true", help="a few of all: some minutes")
    parser.add_argument("--whole", action="store_true", help="train for all epochs: an hour or two")
    arguments = parser.parse_args()
    if platform.machine() != "x86_64":
        sys.exit(f"the emulated processors are compared with x86-64; this is {platform.machine()}")
    extent = SMALL if arguments.small else FULL
    if arguments.models:
        extent = extent._replace(models=arguments.models)
    if arguments.whole:
        extent = extent._replace(epochs=0)
    outs = {out.path: out.md5 for out in lock.outs(lock.read(Path(lock.NAME)))}
    if any(md5(Path(out)) != outs[out] for out in TRAINED):
        sys.exit(f"{' and '.join(TRAINED)} are not those of {lock.NAME}: run `make repro` first")
    committed = {out: bit for out, bit in outs.items() if not out.startswith("data/raw/")}
    whole = {f"{out}, epochs: all": committed.pop(out) for out in TRAINED}

    print(f"{machine()}\n{prepare(extent.models)}\n", flush=True)
    columns = {lock.NAME: committed | whole}
    first, *more = (Processor(threads=count) for count in extent.threads)
    expected = columns[str(first)] = bits(first, extent, committed, committed | whole)
    for one in more:
        columns[str(one)] = bits(one, extent, committed, expected)
    emulated = [Processor(model) for model in extent.models]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as side_by_side:
        found = side_by_side.map(lambda one: bits(one, extent, committed, expected), emulated)
        columns |= dict(zip(extent.models, found, strict=True))
    print(f"\n{'':40}  {'  '.join(columns)}")
    wrong = False
    for what, bit in expected.items():
        cells = []
        for name, one in columns.items():
            word = "" if what not in one else "same" if one[what] == bit else "DIFFERS"
            wrong |= word == "DIFFERS"
            cells.append(word.ljust(len(name)))
        print(f"{what:40}  {'  '.join(cells)}".rstrip())
    sys.exit(wrong)


if __name__ == "__main__":
    main()
