"""Where two versions of a file differ: in which array, at which index, and by how much at most."""

import csv
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.verification import artefact

LEVELS = 2.0  # of 255, by which pixels may differ in pictures that are equal within a tolerance


@dataclass(frozen=True)
class Difference:
    """The first value that differs, and the largest difference of all."""

    place: str
    expected: str
    got: str
    count: int | None = None  # values that differ, of so many; None: the two have other shapes
    total: int | None = None
    largest: float | None = None  # None: not all are numbers
    largest_place: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: expected {self.expected}, got {self.got}"
        if self.count is not None:
            text += f"; {self.count:,} of {self.total:,} values differ"
        if self.largest is not None:
            text += f", at most by {self.largest:.9g} ({self.largest_place})"
        return text


def compare(expected: Path, got: Path, name: str) -> Difference | None:
    """Compare the values of two files of the format that `name` has.

    Floating-point numbers are compared by their bits, so that -0.0 is not 0.0.

    Returns
    -------
    Difference or None
        None if all values are the same: then only how the files hold them can differ.
    """
    kind = artefact.kind(name)
    try:
        ours, theirs = kind.read(expected), kind.read(got)
    except Exception:  # one is damaged, or of another format
        kind = artefact.BYTES
        ours, theirs = kind.read(expected), kind.read(got)
    if list(ours) != list(theirs):
        return Difference(f"each {kind.part}", ", ".join(ours), ", ".join(theirs))
    found = []
    for part, array in ours.items():
        if (form := _form(array)) != (other := _form(theirs[part])):
            return Difference(kind.place(part), form, other)
        if differing := _differing(array, theirs[part]):
            found.append((part, differing))
    if not found:
        return None
    part, first = min(found, key=lambda one: one[1].position)
    worst_part, worst = max(found, key=lambda one: one[1].largest or 0)
    number = all(one.largest is not None for _, one in found)
    return Difference(
        kind.place(part, first.index),
        first.expected,
        first.got,
        count=sum(one.count for _, one in found),
        total=sum(array.size for array in ours.values()),
        largest=worst.largest if number else None,
        largest_place=kind.place(worst_part, worst.largest_index),
    )


def within(difference: Difference | None, tolerance: float, name: str) -> bool:
    """Tell whether no value differs by more than `tolerance`; of a picture, by two levels of 255.

    A picture is drawn from numbers that are compared themselves, and rounds them to pixels.
    """
    if difference is None:
        return True
    allowed = LEVELS if name.endswith(".png") else tolerance
    return difference.largest is not None and difference.largest <= allowed


def divergence(expected: Path, got: Path) -> str | None:
    """Return the first cell of the first row in which two CSV files differ: the epoch."""
    with (
        expected.open(newline="", encoding="utf-8") as ours,
        got.open(newline="", encoding="utf-8") as theirs,
    ):
        for one, other in zip_longest(csv.reader(ours), csv.reader(theirs)):
            if one != other:
                return str((one or other)[0])
    return None


@dataclass(frozen=True)
class _Differing:
    """What differs between two arrays of one form."""

    index: tuple[int, ...]
    position: int  # of that index in the flat array
    expected: str
    got: str
    count: int
    largest: float | None
    largest_index: tuple[int, ...]


def _differing(ours: NDArray[Any], theirs: NDArray[Any]) -> _Differing | None:
    positions = np.flatnonzero(_bits(ours) != _bits(theirs))
    if not len(positions):
        return None
    mine, other = ours.reshape(-1)[positions], theirs.reshape(-1)[positions]
    distances = _distances(mine, other)
    most = 0 if distances is None else int(distances.argmax())
    first, worst = (tuple(map(int, np.unravel_index(positions[k], ours.shape))) for k in (0, most))
    largest = None if distances is None else float(distances[most])
    return _Differing(
        first, int(positions[0]), str(mine[0]), str(other[0]), len(positions), largest, worst
    )


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "f" else array


def _distances(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return the absolute differences, infinite where one is no finite number; None for text."""
    try:
        with np.errstate(invalid="ignore"):
            by = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    except ValueError:
        return None
    return np.nan_to_num(by, nan=np.inf, posinf=np.inf)


def _form(array: NDArray[Any]) -> str:
    """Return type and shape; how many characters the longest text has is no matter."""
    return f"{'text' if array.dtype.kind == 'U' else array.dtype} {array.shape}"
