"""What pyarrow says of a damaged file, in one line, and what it makes of a column."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, first_line
from pipeline.files import shown

PARQUET = (".parquet", ".pq")  # the ends of the names of Parquet files
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one line what pyarrow finds wrong with a file.

    Raises
    ------
    UserError
        If the file cannot be read. If a value is not a number, pyarrow's own error is let through.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if "CSV conversion error to double" in str(error) or "Failed to parse" in str(error):
            raise
        if ragged := RAGGED.search(str(error)):
            row, wanted, found = ragged.groups()
            why = (
                f"row {row} has {found} values where {wanted} are expected: "
                "put a value that holds the separator in quotes"
            )
        elif isinstance(error, FileNotFoundError):
            why = "there is no such file: run `dvc repro download`"
        elif "Empty CSV" in str(error):
            why = "has no rows"
        elif path.suffix.lower() in PARQUET:
            why = f"is not a whole Parquet file: write it again ({first_line(error)})"
        else:
            why = f"cannot be read: {first_line(error)}"
        raise UserError(f"{shown(path)}: {why}") from None


def cast(column: Any, kind: Any) -> Any:
    """Return a column of Parquet as numbers or text; truth values are 0 and 1 in both."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        return column.cast(kind, safe=False)
    except pa.ArrowNotImplementedError:
        if kind != pa.string():
            raise ValueError(f"{column.type} is not a number") from None
        texts = [None if one is None else str(one) for one in column.to_pylist()]
        return pa.array(texts, kind)
