"""Milliseconds an epoch of the pipeline's loop and of its peers, on MNIST.

Batches are of 55,000 rows; the pipeline and Keras then evaluate the 5,000 that are held out.

Each runs in a process of its own, which waits on a pipe while the others are timed.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple

import numpy as np

from benchmarks import peers
from pipeline.learning import determinism

PAUSE = 0.5  # seconds in which the threads of the loop that was timed before come to rest


class Peer(NamedTuple):
    """A row of the table: a loop, and the one whose time its own is divided by.

    `least` bounds that ratio, `most` its inverse.
    """

    name: str
    loop: Callable[[np.ndarray, np.ndarray], peers.Run]
    base: Callable[[np.ndarray, np.ndarray], peers.Run]
    epochs: int
    least: float | None = None
    most: float | None = None


PEERS = [
    Peer("pipeline, batch 256", peers.pipeline, peers.pipeline, 8),
    Peer("  determinism=machine", peers.machine, peers.pipeline, 8, most=1.6),
    Peer("  determinism=off", peers.off, peers.pipeline, 8),
    Peer("Keras fit, batch 256", peers.keras_fit, peers.pipeline, 4, least=5),
    Peer("tutorial's tf.data chain, eager", peers.tutorial_chain, peers.pipeline, 2),
    Peer("NumPy loop, batch 256", peers.numpy_loop, peers.pipeline, 8),
    Peer("floor: gather and two products", peers.floor, peers.pipeline, 16),
    Peer("pipeline, MLP of 128, batch 256", peers.mlp, peers.mlp, 4),
    Peer("  determinism=machine", peers.mlp_machine, peers.mlp, 4, most=2.5),
    Peer("pipeline, full batch", peers.pipeline_full, peers.pipeline_full, 20),
    Peer("  determinism=off", peers.off_full, peers.pipeline_full, 20),
    Peer(
        "tutorial as written, full batch", peers.tutorial_full, peers.pipeline_full, 10, least=3.5
    ),
    Peer("floor: two products, full batch", peers.floor_full, peers.pipeline_full, 20),
    Peer("machine, full batch", peers.machine_full, peers.machine_full, 20),
    Peer("tutorial as written / that", peers.tutorial_full, peers.machine_full, 10, least=5.5),
]


def machine() -> str:
    """Return the processor, the cores this process may use, and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "dvc")]
    python = f"Python {platform.python_version()}"
    return f"{determinism.processor()}, {cores} cores; " + ", ".join([python, *versions])


def measure(rounds: int) -> dict[str, float]:
    """Return the median seconds an epoch takes in each loop; every other round is reversed."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    epochs = {peer.loop.__name__: peer.epochs for peer in PEERS}
    workers = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # notices about processors and drivers
            encoding="utf-8",
            env=environment,
        )
        for name in epochs
    }
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(rounds):
        for name in list(epochs)[:: -1 if number % 2 else 1]:
            time.sleep(PAUSE)
            for count in (1, epochs[name]):  # the first warms up
                print(count, file=workers[name].stdin, flush=True)
                taken = float(workers[name].stdout.readline()) / count
            seconds[name].append(taken)
    for worker in workers.values():
        worker.communicate()
    return {name: statistics.median(values) for name, values in seconds.items()}


def verdict(met: bool) -> str:
    """Say whether a goal is met."""
    return "met" if met else "missed"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    *_, what = peers.examples()
    print(f"{machine()}\n{what}; median of {rounds} rounds\n")
    print(f"{'':33}{'ms/epoch':>9}{'/ pipeline':>12}  goal")
    seconds = measure(rounds)
    for peer in PEERS:
        own = seconds[peer.loop.__name__]
        ratio = own / seconds[peer.base.__name__]
        goal = ""
        if peer.most:
            inverse = f"pipeline / machine {1 / ratio:.2f}"
            goal = f"{inverse}, goal <= {peer.most}: {verdict(1 / ratio <= peer.most)}"
        elif peer.least:
            goal = f">= {peer.least}: {verdict(ratio >= peer.least)}"
        print(f"{peer.name:33}{own * 1000:9.1f}{ratio:12.2f}  {goal}".rstrip())


if __name__ == "__main__":
    main()
