"""The process from which commands are forked: `python -m tests.commands.server SOCKET EXECUTABLE`.

It ends with its standard input, that is with the session of pytest, and every command with it.
"""

import fcntl
import gc
import os
import selectors
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from tests.commands import child, huge_pages
from tests.commands.imports import Imported, everything
from tests.commands.request import Request, inherited, receive

# variables that are read when they are used, not when something is imported
READ_LATER = (
    "CELERY_LOG_",
    "COLD",
    "COLUMNS",
    "COMP_",
    "DVC_",
    "GIT_",
    "HYDRA_FULL_ERROR",
    "LINES",
    "MLFLOW_EXPERIMENT_",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_TRACKING_URI",
    "NO_PROXY",
    "OC_CAUSE",
    "OLDPWD",
    "PATH",
    "PWD",
    "PYTEST_",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "SHLVL",
    "TF_NUM_INTEROP_THREADS",
    "TMPDIR",
    "_",
)
UNLIKE = -1
HIGH = 500


def out_of_the_way(descriptors: list[int]) -> list[int]:
    """Return others for the same files, whose numbers no command has."""
    moved = [fcntl.fcntl(one, fcntl.F_DUPFD, HIGH) for one in descriptors]
    for one in descriptors:
        os.close(one)
    return moved


class Command(NamedTuple):
    """A command that runs: who waits for it, for which test, and whether it leads a group."""

    connection: socket.socket
    test: str
    leads: bool


class Server:
    """Forks a command for each connection, and tells each how its command has ended."""

    def __init__(self, address: str, executable: str):
        self.folder, self.executable = Path(address).parent, executable
        self.commands: dict[int, Command] = {}
        self.inherited, self.environment = inherited(os.getpid()), dict(os.environ)
        self.imported: Imported | None = None
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(100)
        self.ended, self.end = socket.socketpair()
        self.end.setblocking(False)
        signal.set_wakeup_fd(self.end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for one in (self.listener, self.ended, 0):
            self.selector.register(one, selectors.EVENT_READ)

    def serve(self) -> NoReturn:
        """Do what comes until standard input ends."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:
                    self.end_all()
                elif key.fileobj is self.listener:
                    self.begin(self.listener.accept()[0])
                elif key.fileobj is self.ended:
                    self.ended.recv(100)
                    self.reap()
                elif key.data in self.commands:
                    self.forward(key.data)

    def knows(self, environment: dict[bytes, bytes]) -> bool:
        """Tell whether packages were imported with these variables, as far as they count."""
        if not self.imported:
            self.imported = everything()
            gc.collect()
            gc.freeze()
            huge_pages.collapse()
        given = {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}
        known = self.imported.set_by_imports.items()
        other = given.items() ^ self.environment.items()
        return all(name.startswith(READ_LATER) or (name, value) in known for name, value in other)

    def begin(self, connection: socket.socket) -> None:
        """Fork the command that a shim asks for."""
        try:
            request, descriptors = receive(connection)
            group = os.getpgid(request.peer)
            alike = inherited(request.peer) == self.inherited and self.knows(request.environment)
        except OSError:  # it was killed meanwhile
            connection.close()
            return
        pid = os.fork() if alike else UNLIKE
        if not pid:
            self.become(connection, request, descriptors, group)
        for descriptor in descriptors:
            os.close(descriptor)
        test = os.fsdecode(request.environment.get(b"PYTEST_CURRENT_TEST", b"")).rpartition(" ")[0]
        if pid == UNLIKE:
            print(f"cold {test}", flush=True)
            with connection, suppress(OSError):
                connection.sendall(UNLIKE.to_bytes(4, sys.byteorder, signed=True))
            return
        self.commands[pid] = Command(connection, test, group == request.peer)
        self.selector.register(connection, selectors.EVENT_READ, pid)

    def become(
        self, connection: socket.socket, request: Request, descriptors: list[int], group: int
    ) -> NoReturn:
        """Be the command, in the forked process."""
        signal.set_wakeup_fd(-1)
        self.selector.close()
        connections = [one.connection for one in self.commands.values()]
        for one in (self.listener, self.ended, self.end, connection, *connections):
            one.close()
        for descriptor, number in zip(out_of_the_way(descriptors), request.numbers, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        try:
            os.setpgid(0, group)
        except OSError:  # of another session
            os.setpgid(0, 0)
        child.prepare(self.executable, request.command, request.folder, request.environment)
        child.leave(child.run(request.command))

    def forward(self, pid: int) -> None:
        """Pass on the signals that a shim got; without its shim a command must not live on."""
        try:
            numbers = self.commands[pid].connection.recv(100)
        except OSError:
            numbers = b""
        for number in numbers:
            os.kill(pid, number)
        if not numbers:
            self.kill(pid)
            self.selector.unregister(self.commands[pid].connection)

    def kill(self, pid: int) -> None:
        """Kill a command, with its group if the shim led one."""
        os.kill(pid, signal.SIGKILL)
        if self.commands[pid].leads:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def end_all(self) -> NoReturn:
        """End with every command, and leave nothing behind."""
        for pid in self.commands:
            self.kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    def reap(self) -> None:
        """Tell the shims of the commands that have ended how they did."""
        while self.commands:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                return
            command = self.commands.pop(pid)
            print(f"{usage.ru_utime + usage.ru_stime:.3f} {command.test}", flush=True)
            with suppress(OSError):
                command.connection.sendall(status.to_bytes(4, sys.byteorder, signed=True))
            with suppress(KeyError):
                self.selector.unregister(command.connection)
            command.connection.close()


if __name__ == "__main__":
    del sys.path[0]  # of this process, not of the commands
    Server(*sys.argv[1:3]).serve()
