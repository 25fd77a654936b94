"""What the values of a data set are like, from one pass that also shows that all can be read."""

from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.adopting.found import Found
from pipeline.data.examples import Examples
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.readers import READERS
from pipeline.settings.dataset import Dataset

ROW_NAMES = ("id", "index")  # of columns that are no features
SHARE = 0.2  # of each class, for the test part if the files have none


class Survey(NamedTuple):
    """What a pass over all examples has found.

    Attributes
    ----------
    rows : dict of str to int
        How many examples each part has.
    constant, numbering : list of str
        Columns that teach nothing: in the training part, all values are the same, or they number
        the rows.
    """

    rows: dict[str, int]
    constant: list[str]
    numbering: list[str]


def described(found: Found, name: str) -> tuple[Dataset, Survey]:
    """Return the data set, and what its examples are like; all of them are read once.

    Raises
    ------
    UserError
        If one cannot be read, or the parts have different shapes.
    """
    files = {file: found.folder / file for file in found.files}
    options = {key: value for key, value in found.options.items() if value}
    dataset = Dataset(
        name=name,
        reader=found.reader,
        options=options,
        classes=found.classes,
        shape=[1],  # as long as nothing is read
        split="files",
        scale="none",
        max_bytes=max(path.stat().st_size for path in files.values()),
        files={file: sha256(path) for file, path in files.items()},
    )
    parts = READERS[found.reader](found.folder, dataset, **options)
    train = parts["train"]
    for part in parts.values():
        if part.shape != train.shape:
            raise UserError(
                f"{part.place}: examples are {part.shape}, but those of {train.place} {train.shape}"
            )
    ranges = {part: _range(examples) for part, examples in parts.items()}
    low, high = ranges["train"]
    known = {
        "shape": list(train.shape),
        "split": "files" if "test" in parts else SHARE,
        "scale": _scale(train, float(low.min()), float(high.max())),
    }
    features = train.features or ()
    constant = [name for name, same in zip(features, low == high, strict=False) if same]
    numbering = [
        name
        for number, name in enumerate(features)
        if name.lower() in ROW_NAMES or _numbers_rows(train, number, low[number], high[number])
    ]
    rows = {part: examples.rows for part, examples in parts.items()}
    return dataset.model_copy(update=known), Survey(rows, constant, numbering)


def _range(examples: Examples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest value of each feature."""
    low, high = np.full(prod(examples.shape), np.inf), np.full(prod(examples.shape), -np.inf)
    for _, rows in examples.flat():
        low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
    return low, high


def _numbers_rows(examples: Examples, feature: int, low: float, high: float) -> bool:
    """Tell whether the values of a feature are 0, 1 and so on, or 1, 2 and so on, in any order."""
    if low not in (0, 1) or high - low != examples.rows - 1:
        return False
    values = np.concatenate([rows[:, feature] for _, rows in examples.flat()])
    return np.array_equal(np.sort(values), low + np.arange(examples.rows))


def _scale(examples: Examples, low: float, high: float) -> str:
    if examples.dtype == np.uint8:
        return "bytes"
    if len(examples.shape) == 1:
        return "standardise"
    return "none" if low >= 0 and high <= 1 else "minmax"
