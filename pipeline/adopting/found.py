"""What is found at a path: its files, who reads them, and the classes of their labels."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.data.readers.folder import HIDDEN
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.settings.dataset import MOST_CLASSES

PARTS = {"test": "test|t10k", "val": "val|valid|validation|dev"}
LABELS = re.compile(r"(?<![a-z])(y|labels?|targets?|classes)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """Files that are one data set.

    Attributes
    ----------
    reader, options
        As they are written into the file of conf/dataset/; empty options are left out.
    folder : Path
        Where the reader can read the files.
    files : list of str
        Their names in it.
    classes : list of str
    left_out : list of str
        What lies beside them, or in them, and is not used.
    notes : list of str
        What the user should look at.
    """

    reader: str
    options: dict[str, Any]
    folder: Path
    files: list[str]
    classes: list[str]
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unused(folder: Path, used: Iterable[str]) -> list[str]:
    """Return what lies in a folder and is not used, files and whole folders."""
    files = {folder / name for name in used}
    above = {one for file in files for one in file.parents if one.is_relative_to(folder)}
    beside = {one for place in above for one in place.iterdir()} - files - above
    return sorted(
        f"{one.relative_to(folder)}{'/' * one.is_dir()}"
        for one in beside
        if not one.name.startswith(HIDDEN)
    )


def part_of(name: str) -> str:
    """Return which part a file or an array is by its name: `test`, `val`, or else `train`."""
    for part, words in PARTS.items():
        if re.search(f"(?<![a-z])({words})(?![a-z])", name.lower()):
            return part
    return "train"


def paired(are_labels: Mapping[str, bool], place: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the names of the examples and the labels of each part, and what is left out.

    Parameters
    ----------
    are_labels : mapping of str to bool
        Whether each array or file, by its name, holds one value for each example.
    place : Path
        The file or folder that they are in, for error lines.

    Raises
    ------
    UserError
        If a part does not have one array of examples and one of labels.
    """
    parts, left_out = {}, []
    for part in ("train", "test", "val"):
        names = [name for name in are_labels if part_of(name) == part]
        examples = [name for name in names if not are_labels[name]]
        labels = [name for name in names if are_labels[name]]
        named = [name for name in labels if LABELS.search(name)]
        if named and not examples:  # examples of one feature look like labels
            examples = [name for name in labels if name not in named]
        labels = named or labels
        if part == "val":
            left_out += names
        elif names and len(examples) == len(labels) == 1:
            parts[part] = [*examples, *labels]
        elif names or part == "train":
            raise UserError(
                f"{shown(place)}: one array of examples and one of labels, with one value for "
                f"each example, are needed for the {part} part; found are {', '.join(are_labels)}"
            )
    return parts, left_out


def classes_of(
    labels: NDArray[Any], where: str, place_of: Callable[[int], str] = "example {:,}".format
) -> tuple[list[str], list[int] | None]:
    """Return the names of the classes, in their order, and the whole numbers that stand for them.

    Parameters
    ----------
    labels : array (n,)
    where : str
        What an error line begins with.
    place_of : callable
        Returns what an error line calls an example, from its number.

    Raises
    ------
    UserError
        If there are too few or too many different labels, one occurs once, or two look the same.
    """
    listed = labels.tolist()
    counts = {str(value): (count, value) for value, count in Counter(listed).items()}
    names = sorted(counts)
    if all(map(is_number, names)):
        for name in names:
            if not float(name).is_integer():
                raise UserError(
                    f"{where}: the label {name} is not a whole number: a label is a class, which "
                    "is a whole number or a text"
                )
        numerals: dict[Decimal, str] = {}
        for name in names:
            if (other := numerals.setdefault(Decimal(name), name)) != name:
                raise UserError(
                    f"{where}: the labels {other!r} and {name!r} are the same number: write it in "
                    "one way"
                )
    if not 2 <= len(names) <= MOST_CLASSES:
        raise UserError(
            f"{where}: has {len(names):,} different labels, where 2 to {MOST_CLASSES} are possible"
        )
    for name, (count, value) in counts.items():
        if count == 1:
            raise UserError(
                f"{where}: the label {name!r} occurs once, in {place_of(listed.index(value))}: a "
                "class needs two examples, to train on and to test on: add some, or leave it out"
            )
    check_names(names, where)
    if all(re.fullmatch(r"0|-?[1-9]\d*", name) for name in names):
        numbers = sorted(map(int, names))
        return list(map(str, numbers)), numbers
    return names, None


def check_names(names: list[str], where: str, *, of_folders: bool = False) -> None:
    """Refuse names of classes that look the same, or are invisible."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name.strip())
        key = key.casefold() if of_folders else key
        if key in seen:
            raise UserError(
                f"{where}: the classes {seen[key]!r} and {name!r} look the same: give them one name"
            )
        if not key.isprintable() or not key:
            raise UserError(f"{where}: {name!r} cannot be the name of a class: rename it")
        seen[key] = name


def is_number(text: str) -> bool:
    """Tell whether a text is a finite number."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False
