"""Preprocess: raw IDX files to flattened, normalised .npy files.

x = pixels / 255 as float32 (n, features) in [0, 1], y = labels as uint8 (n,), for train and test.
With `storage: uint8`, x are the pixels as they are, and who reads them divides.
"""

import io
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cli.app import run
from pipeline.data import idx
from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config

log = logging.getLogger(__name__)
BLOCK = 512  # rows at a time: few enough for a cache


def main(config: Config, inputs: Inputs) -> None:
    """Check both splits, then write the four arrays."""
    splits = {
        split: load(config.paths.raw, prefix, len(config.dataset.classes))
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }
    train, test = (images.shape[1:] for images, _ in splits.values())
    if train != test:
        raise UserError(f"{config.paths.raw}: training images are {train}, but test images {test}")
    with ExitStack() as stack:
        for split, (images, labels) in splits.items():
            for name, array in ((f"x_{split}", images), (f"y_{split}", labels)):
                path = config.paths.processed / f"{name}.npy"
                temporary = stack.enter_context(replacing(path))
                if name.startswith("y"):
                    copy(array, temporary)
                else:
                    flatten(array, temporary, config.storage)
            log.info("%s: %s images of %s", split, f"{len(images):,}", images.shape[1:])
        inputs.check()


def load(folder: Path, prefix: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Map a split's images (n, rows, columns) and labels (n,) into memory and check them.

    Raises
    ------
    UserError
        If a file is not right in itself, the two differ in length, or a label is not a class.
    """
    images = idx.read(folder / f"{prefix}-images-idx3-ubyte", range(2, idx.MOST_DIMENSIONS + 1))
    path = folder / f"{prefix}-labels-idx1-ubyte"
    labels = idx.read(path, range(1, 2))
    if len(images) != len(labels):
        raise UserError(f"{path}: has {len(labels):,} labels for {len(images):,} images")
    if (largest := int(labels.max())) >= classes:
        row = int(labels.argmax())
        raise UserError(
            f"{path}: label {largest} of example {row} is not a class: "
            f"the data set has {classes}, counted from 0"
        )
    return images, labels


def flatten(images: NDArray[np.uint8], path: Path, storage: str = "float32") -> None:
    """Write images, uint8 (n, ...), as (n, features): over 255 as float32, or as they are."""
    shape = (len(images), int(np.prod(images.shape[1:])))
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(storage)),
        "fortran_order": False,
        "shape": shape,
    }
    mapped: Any = images  # by `idx.read`
    # read and written as files: in a memory map, a full disk kills the process, and pages that have
    # been used are slow to be dropped
    with path.open("wb") as file, Path(mapped.filename).open("rb") as source:
        source.seek(mapped.offset)
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(images), BLOCK):
            values = len(images[start : start + BLOCK]) * shape[1]
            block = np.fromfile(source, np.uint8, values)
            if len(block) < values:
                raise UserError(f"{mapped.filename}: was cut off while it was read")
            kept = block if storage == "uint8" else np.divide(block, np.float32(255))
            file.write(kept.data)


def copy(labels: NDArray[np.uint8], path: Path) -> None:
    """Write labels as they are."""
    content = io.BytesIO()  # into a file, NumPy would not say that the disk is full
    np.save(content, np.asarray(labels), allow_pickle=False)
    path.write_bytes(content.getvalue())


if __name__ == "__main__":
    run(main)
