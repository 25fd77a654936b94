"""Settings under which TensorFlow computes the same bits on every run, thread count and processor.

oneDNN picks its kernels by processor, and TensorFlow switches oneDNN on by processor too: both are
pinned here. oneDNN also splits a sum by the number of threads (products of 1,000 rows and more
differ between 1, 2, 3 and 16), so every operation has one thread; what runs side by side are blocks
of rows, whose sums are added in a fixed order.
"""

import gc
import os
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # no notices about processors and drivers
    "CUDA_VISIBLE_DEVICES": "-1",  # a GPU's sums differ from a processor's
}

OPTIONAL = ("matplotlib", "pandas", "sklearn")  # Keras would import them, a second, for nothing


def enable(seed: int, *, keras: bool = True) -> None:
    """Pin the environment, then import TensorFlow and seed it; nothing may import it before.

    Keras, which TensorFlow imports by itself, is needed for the optimizers alone.
    """
    first = "tensorflow" not in sys.modules
    os.environ.update(ENVIRONMENT)
    with _without_stderr(), _hidden(*OPTIONAL, *(() if keras else ("keras",))):
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # a sweep makes a graph a trial, which is no mistake
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
    if first:
        gc.freeze()
        gc.enable()


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports of these packages fail, unless they were imported before."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: not importable
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what is written to standard error below Python: TensorFlow's notices as it is loaded."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def notice() -> str | None:
    """Return why this machine may compute other bits than the recorded ones, if it may."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"this processor is {platform.machine()}, not x86-64: the bits may differ here"
    if "avx2" not in _cpu_info("flags").split():
        return "this processor has no AVX2: the bits may differ here"
    return None


def processor() -> str:
    """Return the name of the processor."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo; elsewhere than on Linux, nothing."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
