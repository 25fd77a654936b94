"""Softmax regression on MNIST as a pipeline that gives everybody the same bits."""

import gc
import importlib.util
import sys

if sys.argv[0] == "-m":  # a stage's command starts: what it imports stays, and is no garbage
    gc.disable()

if importlib.util.find_spec("hydra") is None:
    sys.exit(f"{sys.executable} has no Hydra: run `make repro` once, then `. .venv/bin/activate`")
