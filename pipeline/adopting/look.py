"""Which form of data lies at a path."""

from dataclasses import replace
from pathlib import Path

from pipeline.adopting import arrays, folders, idx, tables
from pipeline.adopting.found import Found, unused
from pipeline.errors import UserError

FORMS = "a table, a folder of images for each class, .npy or .npz arrays, or IDX files"


def look(path: Path, staging: Path, label: str | None, drop: list[str]) -> Found:
    """Return the data set that lies at a path; what is packed goes into the folder `staging`.

    Of a table, `label` is the column of the labels, and `drop` names columns that are no features.

    Raises
    ------
    UserError
        If there is no data set, it is not clear which files belong to it, or its labels make no
        classes.
    """
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    if folders.has_images(path):
        found = folders.look(path, staging)
    elif any(map(arrays.is_array, inside)):
        found = arrays.look(path)
    elif any(map(tables.is_table, inside)):
        found = tables.look(path, label, drop)
    elif any(map(idx.dimensions, inside)):
        found = idx.look(path)
    else:
        raise UserError(f"{path}: holds no data set: {FORMS} can be adopted; see --help")
    if (label or drop) and found.reader != "table":
        raise UserError(f"{path}: is not a table: label and drop are for tables")
    beside = unused(found.folder, found.files) if path.is_dir() else []
    return replace(found, left_out=sorted({*found.left_out, *beside}))
