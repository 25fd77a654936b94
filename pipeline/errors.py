"""What went wrong, in one line that a user can act on."""


class UserError(Exception):
    """A mistake in the input: its message names the key or file, what is wrong and what to do."""
