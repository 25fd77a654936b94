"""Adopt: a data set of yours becomes a file of conf/dataset/, and its files lie in data/raw/.

    python -m pipeline.adopt PATH [label=COLUMN] [drop=COLUMN,COLUMN] [name=NAME]

    PATH      a CSV or Parquet table with a header, or a folder with two, train and test;
              a folder with a folder of PNG or JPEG images for each class, or with train/ and
              test/, which hold these; NumPy's .npy or .npz arrays; IDX files, packed or not
    label=    the column of a table that holds the classes, if that is not clear
    drop=     columns of a table that are no features
    name=     what the data set is called, if not as the file or the folder

It looks at what is there, reads all of it once, and says what it cannot use. Without a test part,
a share of each class becomes one. The files of PATH stay as they are. For example:

    python -m pipeline.adopt measurements.csv label=species
    dvc exp run -S dataset=measurements
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.adopting import arrays, conf_file, folders, idx, tables
from pipeline.adopting.found import Found
from pipeline.adopting.survey import Survey, survey
from pipeline.cli import arguments
from pipeline.errors import UserError
from pipeline.files import replacing, sha256, shown, write_text
from pipeline.readers import READERS
from pipeline.settings import conf_files, params
from pipeline.settings.schema import NAME, Dataset

RAW = Path("data/raw")
SHARE = 0.2  # of each class, for the test part if the files have none
MOST_HELD_OUT = 0.5  # of the training examples
FORMS = "a table, a folder of images for each class, .npy or .npz arrays, or IDX files"


class Options(arguments.Options):
    """The keys that are explained above."""

    label: Annotated[str, Field(min_length=1)] | None = None
    drop: str = ""
    name: str | None = None


def main(given: list[str]) -> int:
    """Write the file, put the raw files into place, show it, and say what is next."""
    if not given or given[0].partition("=")[0] in Options.model_fields:
        raise UserError("PATH is needed: the file or the folder of the data set; see --help")
    options = arguments.parse(Options, given[1:])
    params.check()
    held_out = params.load()["train"]["validation_size"]
    path = Path(given[0]).expanduser()
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    name = _name(path, options.name)
    RAW.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adopt-", dir=RAW) as staging:
        found = look(path, Path(staging), options)
        hashes = {file: sha256(found.folder / file) for file in found.files}
        dataset = Dataset(
            name=name,
            reader=found.reader,
            options=found.options,
            classes=found.classes,
            shape=[1],  # as long as it is not known
            split="files",
            scale="none",
            max_bytes=max((found.folder / file).stat().st_size for file in hashes),
            files=hashes,
        )
        with _of(path, Path(staging)):
            seen = survey(READERS[found.reader](found.folder, dataset, **found.options))
        split = "files" if "test" in seen.rows else SHARE
        known = {"shape": [*seen.shape], "split": split, "scale": seen.scale}
        text = conf_file.text(dataset.model_copy(update=known), path.resolve().name, seen.rows)
        target = params.CONF / f"dataset/{name}.yaml"
        _check(target, text)
        for file, digest in hashes.items():
            _put(found.folder / file, RAW / name / file, digest)
    write_text(target, text)
    print(f"{shown(target)}:\n\n{text}")
    for note in found.notes + [_constant(seen, options)] * bool(seen.constant):
        print(f"Note: {note}")
    rows = seen.rows["train"] * (1 if "test" in seen.rows else 1 - SHARE)
    fits = isinstance(held_out, float) or held_out < MOST_HELD_OUT * rows
    more = "" if fits else " -S train.validation_size=0.1"
    print(f"Its files are in {RAW / name}. Next: `dvc exp run -S dataset={name}{more}`")
    return 0


def look(path: Path, staging: Path, options: Options) -> Found:
    """Return the data set that lies at a path.

    Raises
    ------
    UserError
        If there is none, or it is not clear which.
    """
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    if path.is_dir() and folders.has_images(path):
        found = folders.look(path, staging)
    elif any(map(arrays.is_array, inside)):
        found = arrays.look(path)
    elif any(map(tables.is_table, inside)):
        drop = list(filter(None, options.drop.split(",")))
        return tables.look(path, options.label, drop)
    elif any(map(idx.dimensions, inside)):
        found = idx.look(path)
    else:
        raise UserError(f"{path}: holds no data set: {FORMS} can be adopted; see --help")
    if options.label or options.drop:
        raise UserError(f"{path}: is not a table: label and drop are for tables")
    return found


@contextmanager
def _of(path: Path, staging: Path) -> Iterator[None]:
    """Let error lines name the folder of images, and not the archive that it is packed into."""
    try:
        yield
    except UserError as error:
        packed = shown(staging / folders.ARCHIVE)
        raise UserError(str(error).replace(packed, str(path))) from None


def _name(path: Path, given: str | None) -> str:
    """Return what the data set is called: a part of file names, the same everywhere."""
    name = given or re.sub(r"[^A-Za-z0-9_-]+", "_", path.resolve().name.split(".")[0]).strip("_")
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"name {name!r} must be letters (a to z), digits, _, - and .: give another with name="
        )
    return name


def _check(target: Path, text: str) -> None:
    """Refuse to replace a file that says something else, or to write one that Hydra misreads."""
    if "${" in text:
        raise UserError("${ cannot stand in a file of conf/: rename the file, column or class")
    if target.exists() and conf_files.read(target) != text:
        raise UserError(
            f"{shown(target)}: is there already, and says something else: remove it, or give "
            "another name with name="
        )
    Dataset.model_validate(
        conf_files.parse(
            conf_files.check(target.parents[1], f"dataset/{target.stem}", text), target
        )
    )


def _put(source: Path, target: Path, digest: str) -> None:
    """Copy a file, unless it is there already."""
    if target.is_file() and sha256(target) == digest:
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        if sha256(temporary) != digest:
            raise UserError(f"{source}: changed while it was read: run this again")


def _constant(seen: Survey, options: Options) -> str:
    names = ",".join([*filter(None, [options.drop]), *seen.constant])
    one = len(seen.constant) == 1
    what = "column has" if one else "columns have"
    return f"{len(seen.constant)} {what} one value in each training example; without: drop={names}"


if __name__ == "__main__":
    arguments.run(main)
