"""The values in a file that the pipeline writes, as named arrays, whatever its format."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data import idx
from pipeline.settings.params import leaves

Arrays = dict[str, NDArray[Any]]


class Kind(NamedTuple):
    """A format: how its values are read, and what a place in it is called."""

    read: Callable[[Path], Arrays]
    part: str
    unit: str
    first: int = 0  # what its first value is counted as

    def place(self, name: str, index: tuple[int, ...] = ()) -> str:
        """Return what a message calls the array of that name, or a value in it."""
        where = f"{self.part} {name}".strip()
        if not index:
            return where
        numbers = ", ".join(str(number + self.first) for number in index)
        return f"{where}, {self.unit} " + (f"[{numbers}]" if len(index) > 1 else numbers)


def kind(name: str) -> Kind:
    """Return the format of a file by its name."""
    return IDX if name.endswith("-ubyte") else KINDS.get(Path(name).suffix, BYTES)


def _npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _csv(path: Path) -> Arrays:
    with path.open(newline="", encoding="utf-8") as file:
        columns = list(zip(*csv.reader(file), strict=True))
    return {name: np.array(cells, np.str_) for name, *cells in columns}


def _json(path: Path) -> Arrays:
    values = leaves(json.loads(path.read_text(encoding="utf-8")), lists=True)
    return {key: np.array(json.dumps(value)) for key, value in values.items()}


def _png(path: Path) -> Arrays:
    from matplotlib.image import imread

    return {"": np.rint(255 * imread(path, format="png")).astype(np.uint8)}


IDX = Kind(lambda path: {"": idx.read(path, range(1, idx.MOST_DIMENSIONS + 1))}, "array", "index")
BYTES = Kind(lambda path: {"": np.frombuffer(path.read_bytes(), np.uint8)}, "file", "byte")
KINDS = {
    ".npy": Kind(lambda path: {"": np.load(path, "r", allow_pickle=False)}, "array", "index"),
    ".npz": Kind(_npz, "array", "index"),
    ".csv": Kind(_csv, "column", "row", first=1),
    ".json": Kind(_json, "key", ""),
    ".png": Kind(_png, "picture", "pixel"),
}
