"""Arrays in .npy files and .npz archives, read piece by piece, and never unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data import npy
from pipeline.data.examples import NUMBERS
from pipeline.errors import UserError, explained
from pipeline.files import shown


def names(path: Path) -> list[str]:
    """Return the names of the arrays in FILE.npy or ARCHIVE.npz, as options have them."""
    if path.suffix != ".npz":
        return [path.name]
    with explained(f"{shown(path)}: cannot be read"), zipfile.ZipFile(path) as archive:
        inside = [name.removesuffix(".npy") for name in archive.namelist()]
    return [f"{path.name}/{name}" for name in inside]


def whole(path: Path) -> NDArray[Any]:
    """Return an array; refuse all but numbers."""
    with opened(path) as array:
        if array.dtype.kind not in NUMBERS:
            raise UserError(f"{shown(path)}: holds {array.dtype}: save numbers")
        return array.whole()


class Saved(NamedTuple):
    """An array whose values follow in a stream."""

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
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        return self.values(prod(self.shape)).reshape(self.shape, order=order)


@contextmanager
def opened(path: Path) -> Iterator[Saved]:
    """Open FILE.npy or ARCHIVE.npz/ARRAY."""
    with explained(f"{shown(path)}: cannot be read"), ExitStack() as stack:
        if packed := next((one for one in path.parents if one.suffix == ".npz"), None):
            archive = stack.enter_context(zipfile.ZipFile(packed))
            name = path.relative_to(packed).as_posix()
            if f"{name}.npy" not in archive.namelist():
                inside = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
                raise UserError(f"{shown(packed)}: has no array {name}; it has {inside}")
            stream = stack.enter_context(archive.open(f"{name}.npy"))
        else:
            stream = stack.enter_context(path.open("rb"))
        array = Saved(path, stream, *npy.read_header(stream))
        if array.dtype.hasobject:
            raise UserError(
                f"{shown(path)}: holds Python objects, which may run code when they are read: "
                "save numbers or text"
            )
        yield array
