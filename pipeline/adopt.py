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

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from pydantic import Field

from pipeline.adopting import conf_file, folders
from pipeline.adopting.look import look
from pipeline.adopting.survey import described
from pipeline.cli import arguments
from pipeline.errors import UserError, listed
from pipeline.files import replacing, sha256, shown, write_text
from pipeline.settings import conf_files, params
from pipeline.settings.dataset import NAME, Dataset

RAW = Path("data/raw")
MOST_HELD_OUT = 0.5  # of the training examples
MOST_NAMES = 10  # in a note


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
    held_out = params.value("train.validation_size")
    path = Path(given[0]).expanduser()
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    name = _name(path, options.name)
    drop = list(filter(None, options.drop.split(",")))
    target = params.CONF / f"dataset/{name}.yaml"
    RAW.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adopt-", dir=RAW) as staging:
        found = look(path, Path(staging), options.label, drop)
        with _of(path, Path(staging)):
            dataset, seen = described(found, name)
        text = conf_file.text(dataset, path.resolve().name, seen.rows)
        _check(target, text, dataset)
        for file, digest in dataset.files.items():
            _put(found.folder / file, RAW / name / file, digest)
    write_text(target, text)
    print(f"{shown(target)}:\n\n{text}")
    notes = found.notes
    if found.left_out:
        notes.append(f"left out: {listed(found.left_out, MOST_NAMES)}")
    for what, columns in (
        ("the same value stands in all training examples", seen.constant),
        (f"{', '.join(seen.numbering)} may only number the rows", seen.numbering),
    ):
        if columns:
            notes.append(f"{what}; leave it out with drop={','.join([*drop, *columns])}")
    for note in notes:
        print(f"Note: {note}")
    left = seen.rows["train"] * (1 if dataset.split == "files" else 1 - dataset.split)
    fits = not isinstance(held_out, int) or held_out < MOST_HELD_OUT * left
    smaller = "" if fits else " -S train.validation_size=0.1"
    print(f"Its files are in {RAW / name}. Next: `dvc exp run -S dataset={name}{smaller}`")
    return 0


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
    override = f"dataset={name}"
    by_hydra = OverridesParser.create().parse_override(override).value()
    by_yaml = OmegaConf.from_dotlist([override])["dataset"]
    if not (isinstance(by_hydra, str) and isinstance(by_yaml, str)):
        raise UserError(
            f"name {name!r} would be read as a number, a truth value or null in params.yaml or on "
            "the command line: give another with name="
        )
    return name


def _check(target: Path, text: str, dataset: Dataset) -> None:
    """Refuse to replace files that hold something else, or to write one that Hydra misreads."""
    if "${" in text:
        raise UserError("${ cannot stand in a file of conf/: rename the file, column or class")
    if target.exists() and conf_files.read(target) != text:
        raise UserError(
            f"{shown(target)}: is there already, and says something else: remove it, or give "
            "another name with name="
        )
    conf_files.check(params.CONF, f"dataset/{target.stem}", text)
    for file, digest in dataset.files.items():
        place = RAW / dataset.name / file
        if place.exists() and sha256(place) != digest:
            raise UserError(
                f"{place}: is there with other bytes: remove it, or give another name with name="
            )


def _put(source: Path, target: Path, digest: str) -> None:
    """Copy a file, unless it is there already."""
    if target.exists():
        return
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        if sha256(temporary) != digest:
            raise UserError(f"{source}: changed while it was read: run this again")


if __name__ == "__main__":
    arguments.run(main)
