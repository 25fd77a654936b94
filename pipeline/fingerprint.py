"""The fingerprint of a training: the same for trainings that give the same weights.

It covers what decides them: the settings, the bytes of the data, and the files that `dvc.yaml`
names as dependencies of the train stage (its code and the lock).
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import Config
from pipeline.files import sha256_once

SETTINGS = {"determinism", "model", "optimizer", "seed", "train"}
ARRAYS = ("x_train.npy", "y_train.npy")


def identity(config: Config) -> dict[str, Any]:
    """Return the arguments of `fingerprint` for a configuration, as plain values."""
    settings = config.model_dump(mode="json", include=SETTINGS)
    settings["classes"] = len(config.dataset.classes)
    return {"settings": settings, "folder": str(config.paths.processed)}


def fingerprint(settings: dict[str, Any], folder: str) -> str:
    """Return the SHA-256, in hexadecimal, of the settings, the data in the folder and the code."""
    files = [Path(folder) / name for name in ARRAYS] + list(code())
    content = {"settings": settings, "files": [sha256_once(path) for path in files]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@lru_cache
def code() -> tuple[Path, ...]:
    """Return the dependencies of the train stage other than data."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = stages["train"]["deps"]
    return tuple(Path(dep) for dep in deps if not dep.startswith("data/"))
