"""What went wrong, in one line that a user can act on."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

HALF = 400  # characters of a line that is cut


class UserError(Exception):
    """A mistake in the input: its message names the key or file, what is wrong and what to do.

    Where a docstring says that something is refused, this is raised.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its name if it has none.

    A long line loses its middle, as the remedy stands at its end.
    """
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= 2 * HALF else f"{line[:HALF]} ... {line[-HALF:]}"


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` names with commas between them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a library raises on bad data into a `UserError` that says `what`, and why."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # NumPy, Pillow, pyarrow and zipfile raise many kinds
        why = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"{what}: {why}") from None


def said(detail: "ErrorDetails") -> str:
    """Return what pydantic says that a value should be, and what it is, unless it is a section."""
    message, value = detail["msg"], detail["input"]
    for start in ("Value error, ", "Input ", "String "):
        message = message.removeprefix(start)
    message = re.sub(r"0\.0{4,}\d+", lambda zeros: f"{float(zeros[0]):g}", message)  # 1e-30 in full
    if isinstance(value, dict):
        return message
    if value is None or isinstance(value, bool):
        return f"{message}, not {json.dumps(value)}"
    shown = str(value) if isinstance(value, float) and not math.isfinite(value) else repr(value)
    return f"{message}, not {shown[:80]}"
