"""What a shim asks the server for, and what a command inherits from its shim besides."""

import marshal
import socket
from pathlib import Path
from typing import NamedTuple

STATE = (
    "Cap",
    "Cpus_allowed:",
    "Gid",
    "NoNewPrivs",
    "Seccomp:",
    "SigBlk",
    "SigIgn",
    "Uid",
    "Umask",
)


class Request(NamedTuple):
    """A message of a shim, as `shim.py` writes it."""

    peer: int
    command: list[str]
    folder: bytes
    environment: dict[bytes, bytes]
    numbers: list[int]  # of the descriptors


def receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """Return a message and the descriptors that came with it."""
    first, descriptors, _, _ = socket.recv_fds(connection, 8, 100)
    length, content = int.from_bytes(first, "big"), b""
    while len(content) < length:
        part = connection.recv(length - len(content))
        if not part:
            raise ConnectionError
        content += part
    return Request(*marshal.loads(content)), descriptors  # noqa: S302


def inherited(pid: int) -> list[str]:
    """Return what a process hands down: limits, namespaces, rights, processors, ignored signals."""
    process = Path(f"/proc/{pid}")
    namespaces = [f"{one.name} {one.readlink()}" for one in sorted((process / "ns").iterdir())]
    status = (process / "status").read_text(encoding="utf-8").splitlines()
    limits = (process / "limits").read_text(encoding="utf-8")
    return [limits, *namespaces, *(line for line in status if line.startswith(STATE))]
