"""Seconds of `dvc repro`, in a temporary clone of the last commit, against its peers.

The peer of the whole pipeline is a Keras script on the same arrays; that of `dvc repro` with
nothing to do is the same command in a repository with one trivial stage.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training import machine, verdict

ROOT = Path(__file__).parents[1]
EPOCHS = 60
STAGES = ("download", "preprocess", "train", "evaluate", "plot")
RESULTS = ("data/processed", "models", "metrics", "plots", "mlflow.db*", "mlruns", ".dvc/cache")
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
}


def seconds(folder: Path, *command: str) -> float:
    """Return how long a command takes in a folder; if it fails, print its output and exit."""
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}")
    if command == ("dvc", "repro", "--force") and done.stdout.count("Running stage") != len(STAGES):
        sys.exit(f"not all stages ran:\n{done.stdout}")
    return taken


def clean(clone: Path) -> None:
    """Remove all results; the checkout and the raw files are left."""
    for pattern in (*RESULTS, ".dvc/tmp"):
        for path in clone.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_clone(clone: Path) -> None:
    """Clone the last commit, copy the raw files, and run it once, which fills the caches."""
    seconds(ROOT, "git", "clone", "--quiet", str(ROOT), str(clone))
    if not (ROOT / "data/raw").exists():
        sys.exit("data/raw is not there: run `dvc repro download`")
    shutil.copytree(ROOT / "data/raw", clone / "data/raw", copy_function=shutil.copyfile)
    clean(clone)
    seconds(clone, "dvc", "repro", "--force")


def make_trivial(folder: Path) -> None:
    """Make a repository with one stage, with this project's settings of DVC, and run it."""
    folder.mkdir()
    for command in ("git init --quiet", "dvc init --quiet"):
        seconds(folder, *command.split())
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    seconds(folder, "dvc", "stage", "add", "-n", "write", "-o", "out.txt", "echo done > out.txt")
    seconds(folder, "dvc", "repro")


def row(name: str, own: list[float], peer: list[float], goal: float) -> str:
    """Return a line of the table: the medians, their ratio and the ratio's upper limit."""
    ratio = statistics.median(own) / statistics.median(peer)
    times = f"{statistics.median(own):10.2f}{statistics.median(peer):10.2f}{ratio:8.2f}"
    return f"{name:42}{times}  < {goal}: {verdict(ratio < goal)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        clone, trivial = Path(temporary) / "clone", Path(temporary) / "trivial"
        make_clone(clone)
        make_trivial(trivial)
        script = [sys.executable, str(ROOT / "benchmarks/keras_script.py"), "data/processed"]
        seconds(clone, *script, "1")
        whole, keras, nothing, least = [], [], [], []
        for _ in range(rounds):
            clean(clone)
            whole.append(seconds(clone, "dvc", "repro", "--force"))
            keras.append(seconds(clone, *script, str(EPOCHS)))
        for _ in range(rounds + 2):
            nothing.append(seconds(clone, "dvc", "repro"))
            least.append(seconds(trivial, "dvc", "repro"))
        alone = {stage: [] for stage in STAGES}
        for _ in range(rounds):
            for stage in STAGES:
                alone[stage].append(seconds(clone, sys.executable, "-m", f"pipeline.{stage}"))
    print(f"\n{'':42}{'seconds':>10}{'peer':>10}{'ratio':>8}  goal")
    print(row(f"five stages / Keras script, {EPOCHS} epochs", whole, keras, 0.6))
    print(row("nothing to do / in a trivial repository", nothing, least, 1.2))
    print("\nstage alone, as a process   seconds")
    medians = {stage: statistics.median(times) for stage, times in alone.items()}
    rest = statistics.median(whole) - sum(medians.values())
    for name, median in {**medians, "DVC, between them": rest}.items():
        print(f"{name:26}{median:9.2f}")


if __name__ == "__main__":
    main()
