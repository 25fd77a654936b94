"""What went wrong, in one line that a user can act on."""


class UserError(Exception):
    """A mistake in the input: its message names the key or file, what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """Return what an exception says in its first line, or its name if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
