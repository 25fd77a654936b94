"""One part of a data set as its files hold it, which is what a reader returns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ValidationInfo

from pipeline.errors import UserError, first_line

NUMBERS = "buif"  # kinds of NumPy's dtypes


def is_listed(name: str, info: ValidationInfo) -> str:
    """Refuse the name of a file that is not one of the data set's."""
    if info.context and name not in info.context["files"]:
        listed = ", ".join(info.context["files"]) or "none"
        raise ValueError(f"must be one of `files`, which are {listed}")
    return name


File = Annotated[str, AfterValidator(is_listed)]  # an option of a reader that is a raw file's name


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Examples, read in blocks, since all of them may be larger than memory.

    Attributes
    ----------
    labels : array of uint8 (rows,)
        The number of each example's class.
    shape : tuple of int
        Of one example: (columns,) of a table, (rows, columns) or (rows, columns, channels) of an
        image.
    dtype : dtype
        Of the values, which are numbers, as the files hold them.
    blocks : callable
        Returns an iterator over arrays (k, *shape) in the order of the examples, with at most some
        thousand examples each. It may be called several times.
    features : tuple of str, optional
        Names of the columns of a table.
    place : str
        What messages call it: the file, or the folder.
    """

    labels: NDArray[np.uint8]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[NDArray[Any]]]
    features: tuple[str, ...] | None = None
    place: str

    def __post_init__(self) -> None:
        """Refuse labels that are no classes: text, as the files may hold it, or one-hot rows."""
        given = np.asarray(self.labels)
        if given.dtype != np.uint8 or given.ndim != 1:
            raise UserError(
                f"{self.place}: its reader gives labels {given.dtype} {given.shape} where the "
                "number of each example's class is needed, from 0 on, uint8 (n,)"
            )

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return len(self.labels)

    def flat(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield blocks of rows, (k, features), each with the number of its first example.

        Raises
        ------
        UserError
            If a value is missing or infinite, the files cannot be read, or a block has another type
            or shape than the reader has announced.
        """
        start = 0
        try:
            for block in self.blocks():
                if block.shape[1:] != self.shape or block.dtype.kind not in NUMBERS:
                    raise UserError(
                        f"{self.place}: its reader gives {block.dtype} {block.shape[1:]} where "
                        f"numbers {self.shape} were announced"
                    )
                rows = block.reshape(len(block), prod(self.shape))
                if block.dtype.kind == "f":
                    self.refuse(~np.isfinite(rows), start, rows, "correct it, or leave it out")
                yield start, rows
                start += len(rows)
        except OSError as error:
            why = error.strerror or first_line(error)
            raise UserError(f"{self.place}: cannot be read: {why}") from None
        if start != self.rows:
            raise UserError(f"{self.place}: has {self.rows:,} labels for {start:,} examples")

    def refuse(self, wrong: NDArray[np.bool_], start: int, rows: NDArray[Any], remedy: str) -> None:
        """Raise a UserError that names the first wrong value, if there is one.

        Parameters
        ----------
        wrong : array of bool (k, features)
            Which values of the rows are wrong.
        start : int
            The number of the first row's example.
        rows : array (k, features)
        remedy : str
            What the user can do.
        """
        if wrong.any():
            row, column = (int(number) for number in np.argwhere(wrong)[0])
            raise UserError(
                f"{self.place}: {self.column(column)} of example {start + row:,} is "
                f"{rows[row, column]:.6g}: {remedy}"
            )

    def column(self, number: int) -> str:
        """Return what messages call a feature."""
        if self.features:
            return f"column {self.features[number]}"
        index = np.unravel_index(number, self.shape)
        return f"value [{', '.join(str(one) for one in index)}]"
