"""IDX files: which hold images, which hold labels, and which part each belongs to."""

import re
from pathlib import Path

from pipeline.adopting.found import Found, classes_of, paired
from pipeline.data import idx
from pipeline.errors import UserError
from pipeline.files import shown

ROLE = re.compile(r"train|test|t10k|images?|imgs?|labels?|idx\d", re.IGNORECASE)


def dimensions(path: Path) -> int:
    """Return how many dimensions an IDX file has, 0 if it is none."""
    try:
        shape, _ = idx.read_header(path, range(1, idx.MOST_DIMENSIONS + 1))
    except UserError:
        return 0
    return len(shape)


def look(path: Path) -> Found:
    """Return the data set of IDX files in a folder, or of those that belong to one file.

    Raises
    ------
    UserError
        If it is not clear which files are meant, or a class has no examples.
    """
    folder = path if path.is_dir() else path.parent
    found = {one.name: dimensions(one) for one in sorted(folder.iterdir()) if one.is_file()}
    found = {name: count for name, count in found.items() if count}
    groups = {ROLE.sub("", name): name for name in reversed(found)}
    if path.is_file():
        groups = {ROLE.sub("", path.name): path.name}
    if len(groups) > 1:
        listed = ", ".join(sorted(groups.values()))
        raise UserError(f"{shown(path)}: holds several data sets: adopt a file of one: {listed}")
    names = [name for name in found if ROLE.sub("", name) in groups]
    parts, _ = paired({name: found[name] == 1 for name in names}, path)
    labels = folder / parts["train"][1]
    values = idx.read(labels, range(1, 2))
    classes, numbers = classes_of(values, shown(labels))
    first, last = int(values.min()), int(values.max())
    if missing := sorted({*range(first, last + 1)} - {*(numbers or ())}):
        raise UserError(f"{shown(labels)}: no example has the label {missing[0]}")
    options = {**parts, "first_label": first, "transposed": "emnist" in names[0].lower()}
    files = sorted(name for pair in parts.values() for name in pair)
    return Found("idx", options, folder, files, classes)
