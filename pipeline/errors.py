"""What went wrong, in one line that a user can act on."""

HALF = 400  # characters of a line that is cut


class UserError(Exception):
    """A mistake in the input: its message names the key or file, what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """Return what an exception says in its first line, or its name if it says nothing.

    What is left out of a long line is its middle: a remedy stands at the end.
    """
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= 2 * HALF else f"{line[:HALF]} ... {line[-HALF:]}"
