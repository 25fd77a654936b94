"""Softmax regression on MNIST as a pipeline that gives everybody the same bits."""

import importlib.util
import sys

if importlib.util.find_spec("hydra") is None:
    sys.exit(f"{sys.executable} has no Hydra: run `make repro` once, then `. .venv/bin/activate`")
