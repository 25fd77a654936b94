"""Arrays that NumPy has saved: .npy files, or members of .npz archives. Nothing is unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo

from pipeline.data import npy
from pipeline.data.examples import NUMBERS, Examples, is_listed
from pipeline.data.readers.labels import numbered
from pipeline.errors import UserError, first_line
from pipeline.files import shown
from pipeline.settings.schema import Dataset

BLOCK_BYTES = 2**24
BLOCK = 4096  # examples at a time, at most
LABELS = "biuUS"  # kinds of dtypes


def _in_a_file(name: str, info: ValidationInfo) -> str:
    file, end, _ = name.rpartition(".npz/")
    is_listed(f"{file}.npz" if end else name, info)
    return name


Array = Annotated[str, AfterValidator(_in_a_file)]  # FILE.npy, or ARCHIVE.npz/ARRAY
Pair = Annotated[list[Array], Field(min_length=2, max_length=2)]


def read(
    folder: Path,
    dataset: Dataset,
    *,
    train: Pair,
    test: Pair | None = None,
    labels: list[int | str] | None = None,
    channels_first: bool = False,
) -> dict[str, Examples]:
    """Read the examples of arrays x, (n, ...), and y, (n,) or (n, 1).

    Parameters
    ----------
    folder : Path
        Where the files lie.
    dataset : Dataset
        Whose classes the labels are.
    train, test : pair of str
        Names of x and y: FILE.npy, or ARCHIVE.npz/ARRAY.
    labels : list of int or str, optional
        What y holds for each class, if that is not the class's name.
    channels_first : bool
        Whether x is (n, channels, height, width), as PyTorch has it; examples are (height, width,
        channels).

    Raises
    ------
    UserError
        If an array is missing, damaged or of another shape or type, or a label is of no class.
    """
    examples = {}
    for part, pair in (("train", train), ("test", test)):
        if pair:
            x, y = (folder / name for name in pair)
            values = text(y)
            found = _Blocks(x, channels_first)
            if found.rows != len(values):
                raise UserError(
                    f"{shown(y)}: has {len(values):,} labels for {found.rows:,} examples"
                )
            examples[part] = Examples(
                labels=numbered(values, dataset.classes, labels, shown(y)),
                shape=found.shape,
                dtype=found.dtype,
                blocks=found,
                place=shown(x),
            )
    return examples


def text(path: Path) -> NDArray[Any]:
    """Return the labels of an array: integers, truth values or text (n,).

    Raises
    ------
    UserError
        If it holds something else.
    """
    with _opened(path) as array:
        shape = array.shape[:1] if array.shape[1:] == (1,) else array.shape
        if len(shape) != 1 or array.dtype.kind not in LABELS:
            raise UserError(
                f"{shown(path)}: holds {array.dtype} {array.shape} where an integer or a text for "
                "each example is needed: for one-hot labels, save y.argmax(1)"
            )
        values = array.values(prod(shape)).reshape(shape)
    return values.astype(str) if values.dtype.kind == "S" else values


def names(path: Path) -> list[str]:
    """Return the names of the arrays in FILE.npy or ARCHIVE.npz, as `read` takes them."""
    if path.suffix != ".npz":
        return [path.name]
    with _explained(path), zipfile.ZipFile(path) as archive:
        inside = [name.removesuffix(".npy") for name in archive.namelist()]
    return [f"{path.name}/{name}" for name in inside]


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of an array."""
    with _opened(path) as array:
        return array.shape


def whole(path: Path) -> NDArray[Any]:
    """Return an array of numbers.

    Raises
    ------
    UserError
        If it holds something else, or cannot be read.
    """
    with _opened(path) as array:
        if array.dtype.kind not in NUMBERS:
            raise UserError(f"{shown(path)}: holds {array.dtype}: save numbers")
        return (
            array.whole() if array.fortran else array.values(prod(array.shape)).reshape(array.shape)
        )


class _Blocks:
    """The examples of an array, (k, *shape) at a time."""

    def __init__(self, path: Path, channels_first: bool):
        self.path, self.channels_first = path, channels_first
        with _opened(path) as array:
            self.rows, self.dtype = (*array.shape, 0)[0], array.dtype
            shape = array.shape
        if not 2 <= len(shape) <= 4 or not prod(shape) or self.dtype.kind not in NUMBERS:
            raise UserError(
                f"{shown(path)}: holds {self.dtype} {shape} where numbers (examples, ...) with 2 "
                "to 4 axes are needed"
            )
        if channels_first and len(shape) != 4:
            raise UserError(f"{shown(path)}: has no channels: it holds {shape}")
        self.shape = (*shape[2:], shape[1]) if channels_first else shape[1:]

    def __call__(self) -> Iterator[NDArray[Any]]:
        size = max(min(BLOCK, BLOCK_BYTES // (prod(self.shape) * self.dtype.itemsize)), 1)
        with _opened(self.path) as array:
            whole = array.whole() if array.fortran else None
            for start in range(0, self.rows, size):
                rows = min(size, self.rows - start)
                if whole is None:
                    block = array.values(rows * prod(self.shape)).reshape(rows, *array.shape[1:])
                else:
                    block = whole[start : start + rows]
                yield np.moveaxis(block, 1, -1) if self.channels_first else block


class _Array(NamedTuple):
    """An array that is read piece by piece."""

    path: Path
    stream: IO[bytes]
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def values(self, count: int) -> NDArray[Any]:
        """Return the next values, (count,)."""
        content = self.stream.read(count * self.dtype.itemsize)
        if len(content) < count * self.dtype.itemsize:
            raise UserError(f"{shown(self.path)}: is cut off: copy it again")
        return np.frombuffer(content, self.dtype)

    def whole(self) -> NDArray[Any]:
        """Return all of it."""
        return self.values(prod(self.shape)).reshape(self.shape, order="F")


@contextmanager
def _opened(path: Path) -> Iterator[_Array]:
    """Open FILE.npy or ARCHIVE.npz/ARRAY."""
    with _explained(path), ExitStack() as stack:
        if path.parent.suffix == ".npz":
            archive = stack.enter_context(zipfile.ZipFile(path.parent))
            if f"{path.name}.npy" not in archive.namelist():
                inside = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
                raise UserError(f"{shown(path.parent)}: has no array {path.name}; it has {inside}")
            stream = stack.enter_context(archive.open(f"{path.name}.npy"))
        else:
            stream = stack.enter_context(path.open("rb"))
        array = _Array(path, stream, *npy.read_header(stream))
        if array.dtype.hasobject:
            raise UserError(
                f"{shown(path)}: holds Python objects, which may run code when they are read: "
                "save numbers or text"
            )
        yield array


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in one line what NumPy, zipfile or zlib finds wrong."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UserError(f"{shown(path)}: cannot be read: {why}") from None
