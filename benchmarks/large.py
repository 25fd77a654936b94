"""Examples a second, and memory, of the stages on data larger than memory.

A generated data set of 784 pixels an image is preprocessed, trained on and evaluated by the real
commands. Each command has a limit of memory, which counts the page cache of files too, and finds
its files on the disk, not in the cache. The ratios are to the speed on 60,000 rows, which are
resident in memory. Each figure is the best of two runs. The speed at which the disk alone gives
x_train.npy, past the page cache, is the most that training can reach.

Start-up is left out: from the time of preprocess and evaluate, their time on 1,000 rows is
subtracted, and train is timed from the line of its first epoch to that of its last.
"""

import argparse
import hashlib
import itertools
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from benchmarks.limits import MIB, Usage, measure
from benchmarks.pipeline import ENVIRONMENT, ROOT, seconds
from benchmarks.training import machine, verdict
from pipeline.data import description, idx
from pipeline.data.description import Description
from pipeline.settings.dataset import Dataset

SMALL, TINY = 60_000, 1_000
SMALL_EPOCHS = 20
SIDE, CLASSES, BLOCK = 28, 10, 8192
GOAL = 0.5  # at least this share of the examples a second that training in memory gives
STAGES = ("preprocess", "train", "evaluate")
STORAGES = ("float32", "uint8")
TESTED = "_tested"  # the name of the data set whose test set the rows are


def write_idx(folder: Path, part: str, rows: int) -> dict[str, str]:
    """Write images and labels that a model can learn; return the SHA-256 of both files."""
    generator = np.random.default_rng(rows)
    prototypes = generator.integers(0, 128, (CLASSES, SIDE, SIDE), np.uint8)
    labels = generator.integers(0, CLASSES, rows, np.uint8)
    blocks = (labels[first : first + BLOCK] for first in range(0, rows, BLOCK))
    images = (
        prototypes[block] + generator.integers(0, 128, (len(block), SIDE, SIDE), np.uint8)
        for block in blocks
    )
    hashes = {}
    for name, shape, content in (
        (f"{part} images", (rows, SIDE, SIDE), images),
        (f"{part} labels", (rows,), [labels]),
    ):
        digest = hashlib.sha256(idx.header(shape))
        with (folder / name).open("wb") as file:
            file.write(idx.header(shape))
            for block in content:
                digest.update(block)
                file.write(block)
        hashes[name] = digest.hexdigest()
    return hashes


class Data:
    """A clone with two data sets: the rows are the training set of one, the test set of another."""

    def __init__(self, clone: Path, rows: int, limit: int):
        self.clone, self.rows, self.limit = clone, rows, limit
        self.name = f"rows_{rows}"
        self.folder = clone / "data" / self.name
        raw = self.folder / "raw" / self.name
        raw.mkdir(parents=True)
        for storage in STORAGES:
            tested = self.folder / f"{storage} tested"
            tested.mkdir()
            for letter in "xy":
                (tested / f"{letter}_test.npy").symlink_to(f"../{storage}/{letter}_train.npy")
        hashes = write_idx(raw, "train", rows)
        hashes |= write_idx(raw, "test", TINY)
        self._write_conf(self.name, hashes)
        self._tested = self._write_conf(f"{self.name}{TESTED}", hashes)

    def _write_conf(self, name: str, hashes: dict[str, str]) -> Dataset:
        dataset = Dataset(
            name=name,
            reader="idx",
            options={part: [f"{part} images", f"{part} labels"] for part in ("train", "test")},
            classes=[str(label) for label in range(CLASSES)],
            shape=[SIDE, SIDE],
            split="files",
            scale="bytes",
            max_bytes=2**40,
            files=hashes,
        )
        path = self.clone / f"conf/dataset/{name}.yaml"
        path.write_text(yaml.safe_dump(dataset.model_dump()), encoding="utf-8")
        return dataset

    def _describe_tested(self, storage: str) -> None:
        """Describe the training set as the test set of the other data set."""
        written = (self.folder / storage / description.NAME).read_bytes()
        known = Description.model_validate_json(written)
        hashes = {"dataset": description.digest(self._tested), "y_test": known.hashes["y_train"]}
        tested = known.model_copy(update={"name": self._tested.name, "hashes": hashes})
        path = self.folder / f"{storage} tested" / description.NAME
        path.write_text(tested.text(), encoding="utf-8")

    def _run(self, stage: str, storage: str, *more: str, suffix: str = "") -> Usage:
        os.sync()
        for path in self.folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        overrides = (
            f"dataset={self.name}{TESTED if suffix else ''}",
            f"storage={storage}",
            f"paths.data=data/{self.name}",
            f"paths.processed='data/{self.name}/{storage}{suffix}'",
            f"train.validation_size={self.rows // 12}",
            *more,
        )
        command = [sys.executable, "-m", f"pipeline.{stage}", *overrides]
        return measure(command, self.clone, ENVIRONMENT, self.limit)

    def took(self, stage: str, storage: str, epochs: int) -> tuple[float, Usage]:
        """Return the seconds of a stage, or of an epoch of train after its first, and its usage."""
        if stage == "train":
            resident = f"resident_bytes={2**60 if self.rows == SMALL else 0}"
            usage = self._run("train", storage, f"train.epochs={epochs}", resident)
            at = [second for second, line in usage.lines if line.startswith("epoch ")]
            return (at[-1] - at[0]) / (len(at) - 1), usage
        if stage == "evaluate":
            self._describe_tested(storage)
        usage = self._run(stage, storage, suffix=" tested" if stage == "evaluate" else "")
        return usage.seconds, usage

    def best(self, stage: str, storage: str, epochs: int) -> tuple[float, Usage]:
        """Return the better of two runs."""
        return min((self.took(stage, storage, epochs) for _ in range(2)), key=lambda run: run[0])

    def disk(self, storage: str) -> float:
        """Return how many examples a second can be read from the disk."""
        path = self.folder / storage / "x_train.npy"
        read = ("dd", f"if={path}", "of=/dev/null", "bs=8M", "iflag=direct")
        return self.rows / seconds(self.clone, *read)


def line(stage: str, storage: str, rows: int, rate: float, usage: Usage) -> str:
    """Return a line of the table, without its goal."""
    figures = f"{rows:11,}{rate:12,.0f}{1e6 / rate:9.2f}{usage.anonymous:11.0f}{usage.whole:9.0f}"
    return f"{stage:12}{storage:9}{figures}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int, default=2048, help="MiB")
    parser.add_argument("--folder", help="a disk for 4.7 kB a row")
    options = parser.parse_args()
    print(f"{machine()}\n{options.limit} MiB for each command\n", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        clone = Path(temporary) / "clone"
        seconds(ROOT, "git", "clone", "--quiet", str(ROOT), str(clone))
        sizes = (TINY, SMALL, options.rows)
        tiny, small, large = (Data(clone, rows, options.limit * MIB) for rows in sizes)
        head = f"{'stage':12}{'storage':9}{'rows':>11}{'examples/s':>12}{'us each':>9}"
        print(f"{head}{'anonymous':>11}{'all MiB':>9}   ratio")
        for storage, stage in itertools.product(STORAGES, STAGES):
            start = tiny.best(stage, storage, 1)[0] if stage != "train" else 0
            taken, small_usage = small.best(stage, storage, SMALL_EPOCHS)
            base = SMALL / (taken - start)
            taken, usage = large.best(stage, storage, options.epochs)
            rate = large.rows / (taken - start)
            goal = f"{rate / base:8.2f}  >= {GOAL}: {verdict(rate / base >= GOAL)}"
            print(line(stage, storage, SMALL, base, small_usage))
            print(line(stage, storage, large.rows, rate, usage) + goal, flush=True)
            if stage == "train":
                print(f"{'the disk':12}{storage:9}{large.rows:11,}{large.disk(storage):12,.0f}")


if __name__ == "__main__":
    main()
