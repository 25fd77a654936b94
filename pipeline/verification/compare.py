"""Where two versions of a file differ: in which array, at which index, and by how much at most."""

import csv
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.verification import artefact

LEVELS = 2.0  # of 255: with a tolerance, the pixels of a picture may differ by so much


@dataclass(frozen=True)
class Difference:
    """The first value that differs, and the largest difference of all values.

    Attributes
    ----------
    place, expected, got : str
        Where the first value that differs is, and what it is on both sides.
    count, total : int or None
        How many values differ, and of how many; None if the shapes differ.
    largest : float or None
        None if not all values that differ are numbers.
    largest_place : str
    """

    place: str
    expected: str
    got: str
    count: int | None = None
    total: int | None = None
    largest: float | None = None
    largest_place: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: expected {self.expected}, got {self.got}"
        if self.count is not None:
            text += f"; {self.count:,} of {self.total:,} values differ"
        if self.largest is not None:
            text += f", at most by {self.largest:.9g} ({self.largest_place})"
        return text


def compare(expected: Path, got: Path, name: str) -> Difference | None:
    """Compare the values of two files, whose format follows from `name`, or of two folders.

    Floating-point numbers are compared by their bits, so that -0.0 is not 0.0.

    Returns
    -------
    Difference or None
        None if all values are the same; the bytes of the files may still differ.
    """
    if expected.is_dir() and got.is_dir():
        return _in_folders(expected, got)
    kind = artefact.kind(name)
    try:
        ours, theirs = kind.read(expected), kind.read(got)
    except Exception:  # one is damaged, or of another format
        kind = artefact.BYTES
        ours, theirs = kind.read(expected), kind.read(got)
    if list(ours) != list(theirs):
        return Difference(f"each {kind.part}", ", ".join(ours), ", ".join(theirs))
    positions = {}
    for part, array in ours.items():
        if (form := _form(array)) != (other := _form(theirs[part])):
            return Difference(kind.place(part), form, other)
        if len(found := np.flatnonzero(_bits(array) != _bits(theirs[part]))):
            positions[part] = found
    if not positions:
        return None

    def place(part: str, position: int) -> str:
        index = np.unravel_index(position, ours[part].shape)
        return kind.place(part, tuple(map(int, index)))

    first = min(positions, key=lambda part: positions[part][0])
    at = positions[first][0]
    distances = {part: _distances(ours[part], theirs[part], positions[part]) for part in positions}
    worst = max(distances, key=lambda part: distances[part].max())
    most = distances[worst].argmax()
    number = not any(np.isnan(values).any() for values in distances.values())
    return Difference(
        place(first, at),
        str(ours[first].flat[at]),
        str(theirs[first].flat[at]),
        count=sum(map(len, positions.values())),
        total=sum(array.size for array in ours.values()),
        largest=float(distances[worst][most]) if number else None,
        largest_place=place(worst, positions[worst][most]),
    )


def _in_folders(expected: Path, got: Path) -> Difference | None:
    """Return the first difference of two folders: in a file, or of the names of their files."""
    ours, theirs = (
        sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        for folder in (expected, got)
    )
    for name in sorted({*ours} ^ {*theirs}):
        one, other = (name if name in names else "nothing" for names in (ours, theirs))
        return Difference("a file", one, other)
    for name in ours:
        if found := compare(expected / name, got / name, name):
            return replace(found, place=f"{name}: {found.place}")
    return None


def within(difference: Difference | None, tolerance: float, name: str) -> bool:
    """Tell whether no value differs by more than `tolerance`, and no pixel by more than LEVELS.

    A picture rounds numbers to pixels, and the numbers themselves are compared in other files.
    """
    if difference is None:
        return True
    allowed = LEVELS if name.endswith(".png") else tolerance
    return difference.largest is not None and difference.largest <= allowed


def divergence(expected: Path, got: Path) -> str | None:
    """Return the epoch in which two histories differ first, None if they are the same."""
    with (
        expected.open(newline="", encoding="utf-8") as ours,
        got.open(newline="", encoding="utf-8") as theirs,
    ):
        for one, other in zip_longest(csv.reader(ours), csv.reader(theirs)):
            if one != other:
                return str((one or other)[0])
    return None


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "f" else array


def _distances(
    ours: NDArray[Any], theirs: NDArray[Any], positions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return absolute differences: infinite if a value is not finite, NaN if one is text."""
    try:
        one, other = (array.flat[positions].astype(np.float64) for array in (ours, theirs))
    except ValueError:
        return np.full(len(positions), np.nan)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.abs(one - other), nan=np.inf, posinf=np.inf)


def _form(array: NDArray[Any]) -> str:
    """Return type and shape; texts have one type, however long they are."""
    return f"{'text' if array.dtype.kind == 'U' else array.dtype} {array.shape}"
