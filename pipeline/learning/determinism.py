"""Settings under which TensorFlow computes the same bits on every run, thread count and processor.

The operations of pipeline/exact need none of them. All others have three:

- TensorFlow switches oneDNN on for some processors only: `portable` and `machine` always do.
- oneDNN chooses its kernels by the processor: `portable` limits it to AVX2.
- A product on several threads splits its sums by the number of threads, and the size of the L2
  cache decides which products do: `portable` and `machine` give every operation one thread. Blocks
  of rows run side by side instead, and their sums are added in a fixed order.

With `off`, TensorFlow is only seeded.
"""

import gc
import logging
import os
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.imports import hidden
from pipeline.settings.schema import Mode

log = logging.getLogger(__name__)
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # no notices about processors and drivers
    "CUDA_VISIBLE_DEVICES": "-1",  # a GPU's sums differ from a processor's
    "KERAS_BACKEND": "tensorflow",
}
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}
KERNELS = {"ONEDNN_MAX_CPU_ISA": "AVX2"}  # of oneDNN, the same on each x86-64 that has these
DECIDING = ("TF_", "ONEDNN_", "DNNL_", "XLA_")  # variables that begin so may change the bits
HARMLESS = ("TF_NUM_INTEROP_THREADS", "ONEDNN_VERBOSE")  # these do not, and stay as they are

OPTIONAL = ("matplotlib", "pandas", "sklearn")  # Keras would import them for nothing, in a second

# The mode in which this process has imported TensorFlow, and whether oneDNN is limited to AVX2: a
# process imports TensorFlow once.
_imported: tuple[Mode, bool] | None = None


def enable(
    seed: int | None,
    mode: Mode = "portable",
    *,
    exact: bool = False,
    keras: bool = True,
    others: bool = False,
) -> None:
    """Pin the environment, import TensorFlow and seed all generators; nothing may import it before.

    Parameters
    ----------
    seed : int or None
        Of the generators of Python, NumPy and TensorFlow; None leaves them alone.
    mode : "portable", "machine" or "off"
        What is pinned.
    exact : bool
        Whether the model and the optimizer consist of the operations of pipeline/exact. These have
        the same bits with any kernels, so oneDNN may use its fastest ones.
    keras : bool
        Whether Keras is needed: optimizers need it, and models that are not exact. Without it, an
        exact model starts faster.
    others : bool
        Whether models that are not exact may follow in this process, as in a notebook. The kernels
        are then limited even if the first model is exact.

    Raises
    ------
    UserError
        If TensorFlow was imported before, by other code or with other settings.
    """
    global _imported  # noqa: PLW0603
    first = "tensorflow" not in sys.modules
    pinned = mode == "portable" and not exact
    if not first and (not _imported or _imported[0] != mode or pinned > _imported[1]):
        raise UserError(_refusal(mode))
    if first:
        if reason := notice(mode, exact=exact):
            log.warning("Note: %s.", reason)
        _imported = mode, pinned or (others and mode == "portable")
        _set_environment(mode, pinned=_imported[1])
    unused = OPTIONAL if keras or not exact else (*OPTIONAL, "keras")
    with _without_stderr(), hidden(*unused):
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it warns of retracing; each trial of a sweep needs a graph
    if mode != "off":
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed)
        tf.random.set_seed(seed)
    if first:
        gc.freeze()  # modules stay until the process ends
        gc.set_threshold(50_000, 20, 20)  # composing a trial makes and drops so many objects
        gc.enable()  # pipeline/__init__.py has stopped it for the imports


def _refusal(mode: Mode) -> str:
    """Return why this process cannot compute in that mode, and what the user can do."""
    from hydra.core.hydra_config import HydraConfig

    if _imported:
        exactly = " for what computes exactly" if _imported[0] == mode else ""
        what = (
            f"determinism={mode} needs a process of its own, in this one TensorFlow was imported "
            f"with determinism={_imported[0]}{exactly}"
        )
        of_command = "use a command for each, or hydra/launcher=joblib in a sweep"
        of_notebook = "restart the notebook's kernel for it"
    else:
        what = (
            "TensorFlow was imported before the pipeline could set it up to compute the same bits"
        )
        of_command = "import it within functions, as pipeline/models.py does"
        of_notebook = "restart the notebook's kernel, and train before anything imports TensorFlow"
    return f"{what}: {of_command if HydraConfig.initialized() else of_notebook}"


def _set_environment(mode: Mode, *, pinned: bool) -> None:
    if mode != "off":
        for name in list(os.environ):
            if name.startswith(DECIDING) and name not in HARMLESS:
                del os.environ[name]
        os.environ.update(ONEDNN | (KERNELS if pinned else {}))
    os.environ.update(ENVIRONMENT)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what is written to standard error below Python: TensorFlow's notices as it is loaded."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def notice(mode: Mode, *, exact: bool) -> str | None:
    """Return why the bits may not be the recorded ones here, or None if they will be."""
    if mode == "machine":
        return "with determinism=machine the bits are those of this kind of processor"
    if mode == "off":
        return "with determinism=off the bits are those of this run alone"
    if not exact and "avx2" not in _cpu_info("flags").split():
        return (
            "this model or optimizer does not compute exactly, and this processor is not x86-64 "
            "with AVX2: the bits may differ here"
        )
    return None


def processor() -> str:
    """Return the name of the processor."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo, empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
