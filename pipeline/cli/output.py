"""Standard output and error that do not fail if their reader has gone or a character is unknown."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


class Unread(io.FileIO):
    """A file descriptor to write to; once its reader has gone, what is written is dropped."""

    def write(self, data: "Buffer", /) -> int:
        """Write, or pretend to."""
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # also for processes that are started from now on
            os.close(nowhere)
            return memoryview(data).nbytes


def keep_printing() -> None:
    """Let this process work to its end whatever becomes of what it prints.

    Its reader may stop reading (`... | head`), a character may be unknown to the terminal, which
    then shows its number, and a descriptor may be closed (`>&-`).
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:  # so that no file gets these numbers
        pass
    os.close(nowhere)
    for number, name in enumerate(("stdout", "stderr"), 1):
        stream = getattr(sys, name) or os.fdopen(number, "w", encoding="utf-8", closefd=False)
        stream.flush()
        wrapped = io.TextIOWrapper(
            io.BufferedWriter(Unread(stream.fileno(), "w", closefd=False)),
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering or stream.write_through,
        )
        setattr(sys, name, wrapped)
