"""Tables: which files, which separator, and which column holds the labels."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.adopting.found import Found, classes_of, is_number, part_of
from pipeline.data.readers import table
from pipeline.data.readers.arrow import PARQUET
from pipeline.data.readers.columns import Columns
from pipeline.data.readers.diagnosis import not_a_number, present
from pipeline.errors import UserError
from pipeline.files import shown

CSV = (".csv", ".tsv", ".tab", ".txt", ".data")
PACKED = (".gz", ".bz2", ".zst")
SEPARATORS = ",;\t|"
LABELS = ("label", "labels", "class", "target", "y", "species", "category", "diagnosis")
MOST_NAMES = 30  # in an error line
NO_HEADER = (
    "its first line holds values, not the names of columns: write these there, or copy "
    "conf/dataset/digits.yaml, which reads a file without them"
)


def is_table(path: Path) -> bool:
    """Tell whether a file is a table by its name."""
    suffix = path.with_suffix("").suffix if path.suffix.lower() in PACKED else path.suffix
    return path.is_file() and suffix.lower() in (*CSV, *PARQUET)


def look(path: Path, label: str | None, drop: list[str]) -> Found:
    """Return the data set of one table, or of a folder with one, or with one of each part.

    Raises
    ------
    UserError
        If it is not clear which files or which column are meant.
    """
    folder = path if path.is_dir() else path.parent
    names = sorted(one.name for one in folder.iterdir() if is_table(one))
    names = names if path.is_dir() else [path.name]
    parts = {part_of(name): name for name in names}
    if len(names) == 1:
        parts = {"train": names[0]}
    elif len(parts) < len(names) or not parts.keys() >= {"train", "test"}:
        raise UserError(
            f"{shown(path)}: holds several tables: {', '.join(names)}: adopt one of them, or name "
            "two train and test"
        )
    file = _described(folder / parts["train"])
    columns = file.names()
    label = label or _label(file, [name for name in columns if name not in drop])
    table.features_of(file, label, drop)
    where = f"{shown(file.path)}: column {label!r}"
    labels, notes = table.text(file, label), []
    if not file.is_parquet and any(map(is_number, columns)):
        if not is_number(label) and label in labels:
            raise UserError(f"{shown(file.path)}: {NO_HEADER}")
        notes = ["the first line was taken as the names of the columns, some of which are numbers"]
    classes, numbers = classes_of(labels, where, lambda number: f"row {file.first + number:,}")
    options = {
        "train": parts["train"],
        "test": parts.get("test"),
        "label": label,
        "labels": numbers,
        "drop": drop,
        "separator": file.separator if file.separator != "," else None,
        "decimal": file.decimal if file.decimal != "." else None,
    }
    return Found("table", options, folder, names, classes, notes=notes)


def _label(file: Columns, columns: Sequence[str]) -> str:
    """Return the one column whose name is that of labels, or that is not of numbers."""
    named = [name for name in columns if name.lower() in LABELS]
    if len(named) != 1:
        first = next(file.batches(texts=columns), None)
        if first is None:
            raise UserError(f"{shown(file.path)}: has no rows")
        texts = [
            name
            for name, column in zip(columns, first, strict=True)
            if not_a_number(present(column), file.decimal) is not None
        ]
        named = texts if len(texts) == 1 else []
    if not named:
        listed = ", ".join(columns[:MOST_NAMES]) + (" ..." if len(columns) > MOST_NAMES else "")
        raise UserError(
            f"{shown(file.path)}: say with label=COLUMN which column holds the labels: {listed}"
        )
    return named[0]


def _described(path: Path) -> Columns:
    """Return a file with what its first lines say: the separator and the decimal point."""
    if path.suffix.lower() in PARQUET:
        return Columns(path)
    header, first, *_ = [*Columns(path).lines(), "", ""]
    rows = [next(csv.reader([header], delimiter=one), []) for one in SEPARATORS]
    names = max(rows, key=len)
    separator = SEPARATORS[rows.index(names)]
    numbers = [name for name in names if is_number(name)]
    if numbers and numbers not in [list(map(str, range(k, k + len(numbers)))) for k in (0, 1)]:
        raise UserError(f"{shown(path)}: {NO_HEADER}")
    is_comma = separator != "," and re.search(r"\d,\d", first)
    return Columns(path, separator, decimal="," if is_comma else ".")
