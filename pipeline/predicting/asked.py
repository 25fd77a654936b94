"""The examples in a file that a model is asked about: an image, an array or the rows of a table."""

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.description import Description
from pipeline.data.readers import picture, saved, table
from pipeline.data.readers.arrow import PARQUET
from pipeline.data.readers.columns import Columns
from pipeline.data.readers.diagnosis import not_a_number
from pipeline.errors import UserError
from pipeline.files import shown
from pipeline.predicting import drawing
from pipeline.readers import options_of
from pipeline.settings.dataset import Dataset

TABLES = (".csv", ".tsv", ".gz", ".bz2", ".zst", *PARQUET)
OF_BYTES = ("folder", "idx")  # readers whose pixels are those of image files


def read(
    path: Path,
    described: Description,
    dataset: Dataset,
    *,
    fit: bool = False,
    paper: float | None = None,
) -> NDArray[Any]:
    """Return the examples of a file, (n, *shape) or (n, features), as the raw files hold them.

    Parameters
    ----------
    path : Path
        A PNG or JPEG image; a .npy array of one example or several; a CSV or Parquet table in the
        form of the data set's own, with or without the column of labels.
    described, dataset : Description and Dataset
        What the model was trained on.
    fit : bool
        Whether an image is brought into the form of MNIST's digits; see `drawing.fitted`.
    paper : float, optional
        How light the edge of the data set's grey images is, 0 to 255. An image whose edge differs
        much is refused.

    Raises
    ------
    UserError
        If the file cannot be read, or its examples are not of the data set's kind.
    """
    if path.is_dir():
        raise UserError(
            f"{path}: is a folder: give the files in it, which may be PNG or JPEG images, .npy "
            "arrays, and CSV or Parquet tables"
        )
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    suffix = path.suffix.lower()
    if suffix in picture.SUFFIXES:
        return _image(path, described, dataset, fit, paper)
    if fit:
        raise UserError(f"{path}: fit=true is for images, and this is none")
    if suffix == ".npy":
        return _array(path, described)
    if suffix in TABLES:
        return _table(path, described, dataset)
    raise UserError(f"{path}: is no PNG, JPEG, .npy, CSV or Parquet file: convert it")


def _image(
    path: Path, described: Description, dataset: Dataset, fit: bool, paper: float | None
) -> NDArray[np.uint8]:
    shape = described.shape
    images = len(shape) in (2, 3) and shape[2:] in ((), (1,), (3,))
    if not images or (dataset.reader not in OF_BYTES and described.scale.kind != "bytes"):
        raise UserError(
            f"{path}: is an image, but the examples of {described.name} are not images of bytes"
        )
    colour = shape[2:] == (3,)
    with path.open("rb") as file, picture.opened(file, shown(path)) as image:
        if picture.is_colour(image, shown(path)) and not colour and not fit:
            raise UserError(
                f"{path}: is in colour, but {described.name} is grey: convert it, or set fit=true"
            )
        pixels = picture.pixels(image, shown(path), colour=colour)
    if fit:
        if colour:
            raise UserError(f"{path}: fit=true is for grey images, and {described.name} is not")
        pixels = drawing.fitted(pixels, (shape[0], shape[1]), shown(path))
    elif pixels.shape[:2] != shape[:2]:
        (height, width), (rows, columns) = pixels.shape[:2], shape[:2]
        advice = "scale it" if colour else "scale it, or set fit=true"
        raise UserError(
            f"{path}: is {width} x {height} pixels, but the images of {described.name} are "
            f"{columns} x {rows}: {advice}"
        )
    elif paper is not None and abs(found := drawing.paper(pixels) - paper) > 128:
        (own, other) = ("light", "dark") if found > 0 else ("dark", "light")
        raise UserError(
            f"{path}: has a {own} background, but the images of {described.name} have a {other} "
            "one: invert it, or set fit=true"
        )
    return pixels.reshape(1, *shape)


def _array(path: Path, described: Description) -> NDArray[Any]:
    values = saved.whole(path)
    one = (values.shape == described.shape and values.ndim > 1) or values.ndim == 1
    return values[None] if one else values


def _table(path: Path, described: Description, dataset: Dataset) -> NDArray[np.float64]:
    if dataset.reader != "table":
        raise UserError(f"{path}: is a table, but {described.name} is none: give images, or a .npy")
    options = options_of(dataset)
    given = table.column_names(options.get("columns"))
    form = {key: options[key] for key in ("separator", "skip", "decimal") if key in options}
    left_out = (options["label"], *(options.get("drop") or ()))
    if given and form.get("skip") and path.suffix.lower() not in PARQUET:
        _refuse_skipped(path, **form)
    if given and _width(Columns(path, given=given, **form)) == len(given) - len(left_out):
        given = [name for name in given if name not in left_out]
    file = Columns(path, given=given, **form)
    names = file.names()
    features = described.features or [name for name in names if name not in left_out]
    if missing := [name for name in features if name not in names]:
        raise UserError(f"{path}: lacks the columns {', '.join(missing[:20])}")
    parts = [*table.blocks(file, features, (len(features),), needed=True)]
    return np.concatenate(parts or [np.empty((0, len(features)))])


def _refuse_skipped(path: Path, *, skip: int, **form: Any) -> None:
    """Refuse a CSV file whose skipped lines hold an example: it looks like the line behind them."""
    rows = csv.reader(Columns(path, **form).lines(), delimiter=form.get("separator", ","))
    kinds = [_kinds(row, form.get("decimal", ".")) for row in islice(rows, skip - 1, skip + 1)]
    if kinds and any(kinds[0]) and kinds[0] == kinds[-1]:
        raise UserError(
            f"{path}: line {skip} is skipped, as in the data set's own files, but is an example: "
            "put the lines with which those begin above it"
        )


def _kinds(row: Sequence[str], decimal: str = ".") -> list[bool]:
    """Tell which values of a row are numbers."""
    import pyarrow as pa

    return [not_a_number(pa.array([one]), decimal) is None for one in row]


def _width(file: Columns) -> int:
    """Return how many values the first row of a CSV file has."""
    if file.is_parquet:
        return 0
    return len(next(csv.reader(file.lines(), delimiter=file.separator), []))
