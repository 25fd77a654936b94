"""Which columns of a table hold anything but finite numbers."""

from collections.abc import Sequence
from typing import Any

from pipeline.data.readers.columns import Columns
from pipeline.errors import listed

MOST_NAMES = 5  # in an error line


def problem(file: Columns, features: Sequence[str], *, needed: bool = False) -> str:
    """Return what is wrong with columns that are not all finite numbers, in one line.

    The file is read once more, as text. If the columns are `needed`, the line does not advise to
    leave them out.
    """
    from pyarrow import compute

    missing: dict[str, str] = {}
    other: dict[str, str] = {}
    row = file.first
    for batch in file.batches(texts=features):
        for name, column in zip(features, batch, strict=True):
            values = present(column)
            if (first := compute.index(values.is_null(), True).as_py()) >= 0:
                missing.setdefault(name, f"{name!r} (row {row + first})")
            if (bad := not_a_number(values, file.decimal)) is not None:
                other.setdefault(name, f"{name!r} ({str(values[bad])!r} in row {row + bad})")
        row += batch.num_rows
    problems = []
    if other:
        left_out = "" if needed else f", or leave the columns out with drop={','.join(other)}"
        columns = listed([*other.values()], MOST_NAMES)
        problems.append(f"{columns} must be finite numbers: write numbers{left_out}")
    if missing:
        columns = listed([*missing.values()], MOST_NAMES)
        problems.append(f"{columns} has missing values: fill them in, or leave the rows out")
    return "; ".join(problems)


def present(column: Any) -> Any:
    """Return a pyarrow column of text in which all that means a missing value is null."""
    import pyarrow as pa
    from pyarrow import compute, csv

    values = compute.utf8_trim_whitespace(column)
    absent = compute.is_in(values, value_set=pa.array(["", *csv.ConvertOptions().null_values]))
    return compute.if_else(absent, None, values)


def not_a_number(values: Any, decimal: str = ".") -> int | None:
    """Return the index of the first text of a pyarrow column that is not a finite number."""
    import pyarrow as pa
    from pyarrow import compute

    try:
        numbers = compute.replace_substring(values, decimal, ".").cast(pa.float64())
    except pa.ArrowInvalid:
        if len(values) == 1:
            return 0
        each = (values.slice(number, 1) for number in range(len(values)))
        return next(n for n, one in enumerate(each) if not_a_number(one, decimal) is not None)
    first = compute.index(compute.is_finite(numbers), False).as_py()
    return first if first >= 0 else None
