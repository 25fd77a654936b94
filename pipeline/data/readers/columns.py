"""Columns of a CSV or Parquet file, in pieces, as numbers or as text.

pyarrow rounds the numbers of a CSV file to the nearest float64, on every machine.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.readers.arrow import PARQUET, cast, explained
from pipeline.errors import UserError
from pipeline.files import shown

INDEX = "__index_level_"  # begins the names of the columns in which pandas writes its index
BLOCK = 4096  # rows at a time
MOST_BYTES = 2**24  # of a row of a CSV file


@dataclass(frozen=True)
class Columns:
    """A file of rows and named columns.

    Attributes
    ----------
    path : Path
        Parquet if it ends in .parquet or .pq, else CSV, which may be packed: .gz, .bz2, .zst.
    separator, skip, decimal
        Of a CSV file, as the options of the reader have them.
    given : sequence of str, optional
        The names of the columns of a CSV file that has no header.
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
        """The number that error lines give to the first row of values."""
        return 1 if self.is_parquet or self.given else 2

    def names(self) -> list[str]:
        """Return the names of the columns.

        Raises
        ------
        UserError
            If the file cannot be read, has no columns, or a name stands twice.
        """
        if self.is_parquet:
            stored = self._parquet().schema_arrow.names
            names = [name for name in stored if not name.startswith(INDEX)]
        else:
            rows = csv.reader(self.lines(), delimiter=self.separator)
            names = list(self.given or next(filter(None, rows), []))
        if not names:
            raise UserError(f"{shown(self.path)}: has no header: its first line names the columns")
        for name, count in Counter(names).items():
            problem = ""
            if not name:
                remedy = "give it one, or write without pandas's index: to_csv(index=False)"
                problem = f"a column has no name: {remedy}"
            elif not name.isprintable():
                problem = f"the column {name!r} needs a printable name"
            elif count > 1:
                problem = f"{count} columns are called {name!r}: give each a name of its own"
            if problem:
                raise UserError(f"{shown(self.path)}: {problem}")
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
        with explained(self.path):
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
            columns = [cast(batch.column(one.name), one.type) for one in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _parquet(self) -> Any:
        from pyarrow import parquet

        with explained(self.path):
            return parquet.ParquetFile(self.path)

    def lines(self) -> list[str]:
        """Return the lines at the beginning of a CSV file, without those that are to be skipped.

        Raises
        ------
        UserError
            If the file cannot be read, or is empty or not UTF-8 text.
        """
        import pyarrow as pa

        with explained(self.path):
            if self.path.stat().st_size == 0:
                raise UserError(f"{shown(self.path)}: is empty")
            with pa.input_stream(str(self.path)) as file:
                start = file.read(MOST_BYTES)
        if len(start) == MOST_BYTES:
            start = start[: start.rfind(b"\n") + 1]  # whole lines
        try:
            text = start.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = start.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{shown(self.path)}: line {line} is not UTF-8 text: save the file as UTF-8"
            ) from None
        return io.StringIO(text, newline="").readlines()[self.skip :]
