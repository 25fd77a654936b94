"""Standard output and error, which may be a pipe that nobody reads to its end (`... | head`)."""

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
            os.dup2(nowhere, self.fileno())  # for the processes, too, that are started from now on
            os.close(nowhere)
            return memoryview(data).nbytes


def outlive_reader() -> None:
    """Let this process work to its end when the reader of its output stops reading."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before this process began
            continue
        stream.flush()
        wrapped = io.TextIOWrapper(
            io.BufferedWriter(Unread(stream.fileno(), "w", closefd=False)),
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering or stream.write_through,
        )
        setattr(sys, name, wrapped)
