"""Softmax regression on MNIST as a pipeline that gives everybody the same bits."""

import gc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.settings.compose import load as load

if sys.argv[0] == "-m":  # a command starts: imports create no garbage, so none is collected until
    gc.disable()  # they are done, which saves 0.8 of the 4.4 processor seconds of TensorFlow's

if importlib.util.find_spec("hydra") is None:
    sys.exit(f"{sys.executable} has no Hydra: run `make repro` once, then `. .venv/bin/activate`")


def __getattr__(name: str) -> Any:
    """Return `load`, which is imported when it is asked for."""
    if name == "load":
        from pipeline.settings.compose import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
