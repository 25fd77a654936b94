"""Small IDX files, as the raw MNIST files are laid out."""

import hashlib
from pathlib import Path

import numpy as np

from pipeline.data import idx

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
SHAPE = (4, 5)


def write_split_files(
    folder: Path,
    *,
    train: int = 60,
    test: int = 30,
    shape: tuple[int, ...] = SHAPE,
    classes: int = 3,
    seed: int = 0,
) -> dict[str, str]:
    """Write the four files with random pixels and labels; return the SHA-256 of each."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for prefix, rows in (("train", train), ("t10k", test)):
        arrays = {
            "images-idx3": generator.integers(0, 256, (rows, *shape)).astype(np.uint8),
            "labels-idx1": generator.integers(0, classes, rows).astype(np.uint8),
        }
        for kind, array in arrays.items():
            content = idx.header(array.shape) + array.tobytes()
            name = f"{prefix}-{kind}-ubyte"
            (folder / name).write_bytes(content)
            hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes
