"""What a forked process does to be the command."""

import ctypes
import gc
import importlib
import os
import random
import runpy
import signal
import sys
import tempfile
import threading
from atexit import _run_exitfuncs  # type: ignore[attr-defined]
from pathlib import Path
from types import ModuleType

PADDING = "x" * 4096  # an argument of the server, where a command's own arguments are written


def show_arguments(arguments: list[str]) -> None:
    """Let other processes see a command's arguments as those of this process."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = b"\0".join(map(os.fsencode, arguments))[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def prepare(executable: str, command: list[str], folder: bytes, environment: dict) -> None:
    """Make this process what it would be at its start."""
    os.chdir(folder)
    os.environb.clear()
    os.environb.update(environment)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.executable = executable
    sys.orig_argv = [executable, *command]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    show_arguments(sys.orig_argv)
    tempfile.tempdir = None
    random.seed()
    gc.enable()
    importlib.invalidate_caches()
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main


def execute(command: list[str]) -> None:
    """Run what `python` runs with these arguments."""
    namespace = sys.modules["__main__"].__dict__
    if command[0] == "-m":
        sys.argv = ["-m", *command[2:]]
        sys.path.insert(0, str(Path.cwd()))
        runpy._run_module_as_main(command[1])  # type: ignore[attr-defined]
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        sys.path.insert(0, "")
        exec(compile(command[1], "<string>", "exec"), namespace)  # noqa: S102
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).resolve().parent))
        namespace["__file__"] = command[0]
        exec(compile(Path(command[0]).read_bytes(), command[0], "exec"), namespace)  # noqa: S102


def run(command: list[str]) -> int:
    """Run a command to its end, as the interpreter does; return its exit code."""
    try:
        execute(command)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code and not isinstance(stop.code, int):
            print(stop.code, file=sys.stderr)
    except BaseException as error:
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        sys.excepthook(type(error), error.with_traceback(frames), frames)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    _run_exitfuncs()
    return code


def leave(code: int) -> None:
    """End this process; its modules are not taken down, which would cost what an import costs."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            code = code or 120
            if stream is sys.stdout:  # as the interpreter says it
                line = f"Exception ignored in: {stream}\n{type(error).__name__}: {error}"
                print(line, file=sys.stderr)
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 255)
