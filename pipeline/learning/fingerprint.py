"""The fingerprint of a training: the same for trainings that give the same weights.

It covers what decides them: the settings, the bytes of the data, and the hand-made files that
`dvc.yaml` names as dependencies of the train stage (its code and the lock).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.files import sha256_once
from pipeline.settings import inputs
from pipeline.settings.schema import Config

SETTINGS = {"determinism", "model", "optimizer", "seed", "train"}
ARRAYS = ("x_train.npy", "y_train.npy")


def settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide a training, as plain values."""
    found = config.model_dump(mode="json", include=SETTINGS)
    if config.train.patience is not None:  # decides by the objective when to end
        found |= config.model_dump(include={"sweep": {"objective", "direction"}})
    return found | {"classes": len(config.dataset.classes), "shape": config.dataset.shape}


def fingerprint(config: Config) -> str:
    """Return the SHA-256, in hexadecimal, of the settings, the data and the code."""
    return of(settings(config), config.paths.processed)


def of(decisive: dict[str, Any], processed: Path) -> str:
    """Return the fingerprint of a training with these `settings`, on the data of a folder."""
    data = [sha256_once(processed / name) for name in ARRAYS]
    content = {"settings": decisive, "files": data + code()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def code() -> list[str]:
    """Return the hashes of the code by which this process trains."""
    return list(inputs.code("train").values())
