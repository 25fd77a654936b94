"""`python` and `dvc` of the tests: hand a command over to the server, or start it from nothing.

Runs as `python -IS shim.py SOCKET SCRIPT [ARGUMENT ...]`; SCRIPT is empty for `python` itself. Only
modules that are built into Python are imported: this has to start in a hundredth of a second.
"""

import _signal
import _socket
import marshal
import os
import sys

address, script, *arguments = sys.argv[1:]
command = [script, *arguments] if script else arguments
SIGNALS = [
    number
    for number in (_signal.SIGINT, _signal.SIGTERM)
    if _signal.getsignal(number) != _signal.SIG_IGN
]


def is_open(number: int) -> bool:
    """Tell whether a descriptor is open; not that with which they were listed."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


DESCRIPTORS = [one for one in map(int, os.listdir("/proc/self/fd")) if is_open(one)]  # noqa: PTH208


def cold() -> None:
    """Become the command itself."""
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606


def can_be_forked() -> bool:
    """Tell whether the command is one that the server can start: no options, no terminal, ..."""
    return bool(
        command
        and (command[0] in ("-m", "-c") or not command[0].startswith("-"))
        and not os.environ.get("COLD")
        and not any("determinism" in argument for argument in command)  # may import otherwise
        and {0, 1, 2} <= {*DESCRIPTORS}
        and not any(map(os.isatty, DESCRIPTORS))
    )


if not can_be_forked():
    cold()
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
try:
    connection.connect(address)
except OSError:
    cold()
for number in SIGNALS:
    _signal.signal(number, lambda number, frame: connection.send(bytes([number])))
environment = dict(os.environb)
message = marshal.dumps((os.getpid(), command, os.getcwdb(), environment, DESCRIPTORS))  # noqa: PTH109
descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in DESCRIPTORS)
answer = b""
try:
    connection.sendmsg(
        [len(message).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)]
    )
    connection.sendall(message)
    while len(answer) < 4:
        answer += connection.recv(4 - len(answer)) or b"!" * 5
except OSError:
    answer = b""
if len(answer) != 4:
    os.write(2, b"the process from which the tests fork commands has died\n")
    os._exit(70)
status = int.from_bytes(answer, sys.byteorder, signed=True)
if status == -1:  # it would not be the same
    for number in SIGNALS:
        _signal.signal(number, _signal.SIG_DFL)
    cold()
if os.WIFSIGNALED(status):
    if os.WTERMSIG(status) in SIGNALS:
        _signal.signal(os.WTERMSIG(status), _signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.waitstatus_to_exitcode(status))
