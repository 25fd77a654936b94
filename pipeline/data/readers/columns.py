"""Columns of a CSV or Parquet file, in pieces, as numbers or as text.

pyarrow rounds the numbers of a CSV file to the nearest float64, on every machine.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, first_line
from pipeline.files import shown

PARQUET = (".parquet", ".pq")
BLOCK = 4096  # rows at a time
MOST_BYTES = 2**24  # of a row of a CSV file
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


@dataclass(frozen=True)
class Columns:
    """A file of rows and named columns.

    Attributes
    ----------
    path : Path
        Parquet if it ends in .parquet or .pq, else CSV, which may be packed: .gz, .bz2, .zst.
    separator : str
        Between the values of a row of a CSV file.
    skip : int
        Lines of a CSV file before its header, or before its first row if it has no header.
    given : sequence of str, optional
        The names of the columns of a CSV file that has no header.
    decimal : str
        What stands before the fraction of a number in a CSV file.
    """

    path: Path
    separator: str = ","
    skip: int = 0
    given: Sequence[str] | None = None
    decimal: str = "."

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet."""
        return self.path.suffix.lower() in PARQUET

    @property
    def first(self) -> int:
        """The number of the first row of values, as it is counted in error lines."""
        return 1 if self.is_parquet or self.given else 2

    def names(self) -> list[str]:
        """Return the names of the columns.

        Raises
        ------
        UserError
            If the file cannot be read, has no columns, or a name stands twice.
        """
        if self.is_parquet:
            names = self._parquet().schema_arrow.names
        else:
            rows = csv.reader(self.lines(), delimiter=self.separator)
            names = list(self.given or next(filter(None, rows), []))
        if not names:
            raise UserError(f"{shown(self.path)}: has no header: its first line names the columns")
        for name, count in Counter(names).items():
            if count > 1 or not name:
                what = f"{count} columns have the name {name!r}" if name else "a column has no name"
                raise UserError(f"{shown(self.path)}: {what}: give each a name of its own")
        return names

    def batches(self, numbers: Sequence[str] = (), texts: Sequence[str] = ()) -> Iterator[Any]:
        """Yield pyarrow's record batches of some columns as float64 and others as text.

        Raises
        ------
        UserError
            If the file cannot be read, or a row has too few or too many values.
        ValueError
            pyarrow's, if a value is not a number.
        """
        import pyarrow as pa

        schema = pa.schema(
            [*((name, pa.float64()) for name in numbers), *((name, pa.string()) for name in texts)]
        )
        batches = self._of_parquet(schema) if self.is_parquet else self._of_csv(schema)
        with self._explained():
            for batch in batches:
                for start in range(0, batch.num_rows, BLOCK):
                    yield batch.slice(start, BLOCK)

    def _of_csv(self, schema: Any) -> Iterator[Any]:
        from pyarrow import csv as arrow

        options = arrow.ReadOptions(
            use_threads=False,  # else errors do not name the row
            block_size=MOST_BYTES,
            skip_rows=self.skip,
            column_names=self.given,
        )
        yield from arrow.open_csv(
            self.path,
            options,
            arrow.ParseOptions(delimiter=self.separator),
            arrow.ConvertOptions(
                column_types=schema,
                include_columns=schema.names,
                decimal_point=self.decimal,
            ),
        )

    def _of_parquet(self, schema: Any) -> Iterator[Any]:
        import pyarrow as pa

        for batch in self._parquet().iter_batches(BLOCK, columns=schema.names):
            columns = [_cast(batch.column(one.name), one.type) for one in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _parquet(self) -> Any:
        from pyarrow import parquet

        with self._explained():
            return parquet.ParquetFile(self.path)

    def lines(self) -> list[str]:
        """Return the lines at the beginning of a CSV file, without those that are to be skipped.

        Raises
        ------
        UserError
            If the file cannot be read, or is empty or not UTF-8 text.
        """
        import pyarrow as pa

        with self._explained():
            if self.path.stat().st_size == 0:
                raise UserError(f"{shown(self.path)}: is empty")
            with pa.input_stream(str(self.path)) as file:
                start = file.read(MOST_BYTES)
        whole, newline, _ = (
            start.rpartition(b"\n") if len(start) == MOST_BYTES else (start, b"", b"")
        )
        try:
            text = (whole + newline).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = start.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{shown(self.path)}: line {line} is not UTF-8 text: save the file as UTF-8"
            ) from None
        return io.StringIO(text, newline="").readlines()[self.skip :]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one line what pyarrow finds wrong with the file."""
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
            elif self.is_parquet:
                why = f"is not a whole Parquet file: write it again ({first_line(error)})"
            else:
                why = f"cannot be read: {first_line(error)}"
            raise UserError(f"{shown(self.path)}: {why}") from None


def _cast(column: Any, kind: Any) -> Any:
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
