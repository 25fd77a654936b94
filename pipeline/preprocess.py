"""Preprocess: raw files to flat, scaled .npy files, and dataset.json, which describes them.

Of the train and the test part, x is float32 (n, features), and y is uint8 (n,), the number of each
example's class. With `storage: uint8`, x holds the bytes of the files, and its readers divide them
by 255.
"""

import io
import logging
from contextlib import ExitStack, closing
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cli.app import run
from pipeline.data import description, scaling, splitting, spool
from pipeline.data.description import Description
from pipeline.data.examples import Examples
from pipeline.data.splitting import Part
from pipeline.data.spool import RowWriter, Spool
from pipeline.errors import UserError
from pipeline.files import replacing
from pipeline.readers import READERS, options_of
from pipeline.settings.dataset import Dataset
from pipeline.settings.explain import where_set
from pipeline.settings.inputs import Inputs
from pipeline.settings.schema import Config

log = logging.getLogger(__name__)


def main(config: Config, inputs: Inputs) -> None:
    """Read, split and scale a data set; write its arrays and their description."""
    dataset, folder = config.dataset, config.paths.processed
    if config.storage == "uint8" and dataset.scale != "bytes":
        raise UserError(
            f"{where_set('storage')}: uint8 is for data sets with `scale: bytes`, and "
            f"{dataset.name} has `scale: {dataset.scale}`: set storage to float32"
        )
    parts = splitting.split(read(config.paths.raw, dataset), dataset)
    warn(parts["train"], dataset)
    described = describe(parts, dataset)
    encode = scaling.Encoder(described, config.storage, exact=config.determinism == "portable")
    with ExitStack() as stack:
        write_x(folder, parts, encode, np.dtype(config.storage), stack)
        for name, part in parts.items():
            content = io.BytesIO()  # NumPy, given a file, does not say that the disk is full
            np.save(content, part.labels, allow_pickle=False)
            path = folder / f"y_{name}.npy"
            stack.enter_context(replacing(path)).write_bytes(content.getvalue())
            log.info("%s: %s examples of %s", name, f"{len(part.rows):,}", part.source.shape)
        path = folder / description.NAME
        stack.enter_context(replacing(path)).write_text(described.text(), encoding="utf-8")
        inputs.check()


def read(folder: Path, dataset: Dataset) -> dict[str, Examples]:
    """Return what the data set's reader finds in the folder of its raw files.

    Raises
    ------
    UserError
        If the reader or one of its options is not known, the files are not what it reads, or their
        examples have another shape or other classes than the configuration says.
    """
    found = READERS[dataset.reader](folder, dataset, **options_of(dataset))
    if not isinstance(found, dict) or "train" not in found:
        raise UserError(
            f"{where_set('dataset.reader')}: {dataset.reader!r} must return a dict with the "
            f"Examples of `train`, and of `test` if there are any, not a {type(found).__name__}"
        )
    for part in found.values():
        if not part.rows:
            raise UserError(f"{part.place}: has no examples")
        if part.shape != tuple(dataset.shape):
            raise UserError(
                f"{part.place}: examples are {part.shape}, but {where_set('dataset.shape')} is "
                f"{tuple(dataset.shape)}: set it to {list(part.shape)}"
            )
        if (largest := int(part.labels.max(initial=0))) >= len(dataset.classes):
            raise UserError(
                f"{part.place}: label {largest} of example {part.labels.argmax():,} is not one of "
                f"the {len(dataset.classes)} classes, counted from 0"
            )
    return found


def warn(part: Part, dataset: Dataset) -> None:
    """Warn of classes without a training example, which cannot be learned."""
    counts = np.bincount(part.labels, minlength=len(dataset.classes))
    if absent := [name for name, count in zip(dataset.classes, counts, strict=True) if not count]:
        log.warning("no training example is of: %s", ", ".join(absent))


def describe(parts: dict[str, Part], dataset: Dataset) -> Description:
    """Return the description of the arrays, with the scale, which is learned here."""
    names = parts["train"].source.features
    labels = {f"y_{name}": description.sha256_of(part.labels) for name, part in parts.items()}
    return Description(
        name=dataset.name,
        shape=tuple(dataset.shape),
        classes=dataset.classes,
        features=None if names is None else list(names),
        scale=scaling.learn(dataset.scale, parts["train"]),
        hashes={"dataset": description.digest(dataset), **labels},
    )


def write_x(
    folder: Path,
    parts: dict[str, Part],
    encode: scaling.Encoder,
    dtype: np.dtype[Any],
    stack: ExitStack,
) -> None:
    """Write x of all parts, reading each source once.

    The files have temporary names until the stack is closed.
    """
    sources = {id(part.source): part.source for part in parts.values()}
    for source in sources.values():
        outputs = []
        for name, part in parts.items():
            if part.source is source:
                path = folder / f"x_{name}.npy"
                temporary = stack.enter_context(replacing(path))
                writer = stack.enter_context(closing(writing(temporary, path, part, dtype)))
                places = np.full(source.rows, -1)
                places[part.rows] = np.arange(len(part.rows))
                outputs.append((writer, places))
        for start, rows in source.flat():
            x = encode(source, start, rows)
            for writer, places in outputs:
                to = places[start : start + len(rows)]
                here = to >= 0
                writer.write(*((x, to) if here.all() else (x[here], to[here])))
        encode.finish(source)
        for writer, _ in outputs:
            writer.finish()


def writing(temporary: Path, path: Path, part: Part, dtype: np.dtype[Any]) -> RowWriter:
    """Return the writer of x of a part; its errors name `path`, not the temporary file."""
    shape = len(part.rows), prod(part.source.shape)
    large = prod(shape) * dtype.itemsize > spool.LARGE
    kind = Spool if large and (np.diff(part.rows) < 0).any() else RowWriter
    return kind(temporary, path, shape, dtype)


if __name__ == "__main__":
    run(main)
