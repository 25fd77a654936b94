"""Seconds a trial takes in a grid of 20 epochs each: in one process, with joblib, and alone.

In one process, the trials of a batch size are trained together, or all one after the other.

Two figures more are what a trial costs beyond its training, and what a store that already holds
many trials adds to the start of a sweep. All of it runs in a temporary clone of the last commit,
with the arrays of this checkout.
"""

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pipeline import ENVIRONMENT, ROOT, seconds
from benchmarks.training import machine, verdict

EPOCHS = 20
GRID = (
    "train.learning_rate=0.02,0.03,0.05,0.07,0.1,0.14,0.2,0.3",
    "train.batch_size=128,256",
)
STORED = 1000
TRAIN = (sys.executable, "-m", "pipeline.train")
FILL = """
import sys, time, mlflow
client = mlflow.MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("softmax-mnist").experiment_id
from mlflow.entities import Metric, Param
for number in range(int(sys.argv[2])):
    run = client.create_run(experiment, tags={"kind": "trial", "pipeline.fingerprint": str(number)})
    names = ("train.learning_rate", "train.batch_size", "train.epochs")
    params = [Param(name, str(number)) for name in names]
    metrics = [Metric("val_accuracy", 0.9, 0, step) for step in range(20)]
    client.log_batch(run.info.run_id, params=params, metrics=metrics)
    client.set_terminated(run.info.run_id)
"""


def sweep(clone: Path, grid: Sequence[str], epochs: int, *options: str) -> float:
    """Return the seconds of a grid as one sweep, after earlier trials have been removed."""
    shutil.rmtree(clone / "multirun", ignore_errors=True)
    return seconds(clone, *TRAIN, "-m", f"train.epochs={epochs}", *grid, *options)


def trials(grid: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the overrides of each trial of a grid."""
    parts = [argument.partition("=") for argument in grid]
    choices = [[f"{key}={value}" for value in values.split(",")] for key, _, values in parts]
    return list(itertools.product(*choices))


def calls(clone: Path, grid: Sequence[str]) -> float:
    """Return the seconds of the grid if each trial is a command of its own."""
    return sum(seconds(clone, *TRAIN, f"train.epochs={EPOCHS}", *each) for each in trials(grid))


def a_trial(clone: Path, grid: Sequence[str], epochs: int) -> float:
    """Return the seconds that one more trial adds to a sweep in one process."""
    one = sweep(clone, trials(grid)[0], epochs)
    return (sweep(clone, grid, epochs) - one) / (len(trials(grid)) - 1)


def start(clone: Path, rounds: int) -> float:
    """Return the median seconds of a sweep of two trials of one epoch."""
    return statistics.median(sweep(clone, ["seed=1,2"], 1) for _ in range(rounds))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("grid", nargs="*", metavar="KEY=VALUE,VALUE", default=GRID)
    arguments = parser.parse_args()
    rounds, grid = arguments.rounds, arguments.grid
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        seconds(ROOT, "git", "clone", "--quiet", str(ROOT), str(clone))
        shutil.copytree(ROOT / "data/processed", clone / "data/processed")
        seconds(clone, *TRAIN)
        names = ("one", "apart", "joblib", "calls", "beyond")
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            times["joblib"].append(sweep(clone, grid, EPOCHS, "hydra/launcher=joblib"))
            times["one"].append(sweep(clone, grid, EPOCHS))
            times["apart"].append(sweep(clone, grid, EPOCHS, "sweep.together=false"))
            times["calls"].append(calls(clone, grid))
            short, long = a_trial(clone, grid, 1), a_trial(clone, grid, EPOCHS)
            times["beyond"].append(short - (long - short) / (EPOCHS - 1))
        empty = start(clone, rounds + 2)
        uri = ENVIRONMENT["MLFLOW_TRACKING_URI"]
        seconds(clone, sys.executable, "-c", FILL, uri, str(STORED))
        added = start(clone, rounds + 2) - empty
    medians = {
        name: statistics.median(values) / len(trials(grid)) for name, values in times.items()
    }
    number = len(trials(grid))
    print(f"\n{number:2} trials of {EPOCHS} epochs       s/trial  calls / it  goal")
    for name, label in (
        ("one", "one process"),
        ("apart", "one process, none together"),
        ("joblib", "joblib, 2 cores"),
        ("calls", "calls"),
    ):
        ratio = medians["calls"] / medians[name]
        goal = f">= 4: {verdict(ratio >= 4)}" if name == "one" else ""
        print(f"{label:27}{medians[name]:9.2f}{ratio:12.2f}  {goal}".rstrip())
    beyond = statistics.median(times["beyond"])
    print(f"\na trial beyond its epochs: {beyond:.2f} s, goal < 0.25: {verdict(beyond < 0.25)}")
    print(f"{STORED} stored trials add {added:.2f} s, goal <= 0.1: {verdict(added <= 0.1)}")


if __name__ == "__main__":
    main()
