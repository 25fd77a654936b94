"""The server of a session of pytest, which all workers of pytest-xdist share."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.git import OF_A_HOOK
from tests.commands.child import PADDING
from tests.processor_time import ProcessorTime

FOLDER = "PYTEST_FORKS"  # the variable that names the folder of `python` and `dvc`
SHIM = """\
#!/bin/sh
exec {python} -IS {shim} {address} {script} "$@"
"""


DROPPED = (
    "COLUMNS",
    "LINES",
    "MLFLOW_",
    "ONEDNN_",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "TF_",
    *OF_A_HOOK,  # else the tests, run by one, would commit into its repository
)
# before tests import TensorFlow, scikit-learn and others, which set variables; some are pytest's
AT_FIRST = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}


def inherited() -> dict[str, str]:
    """Return the environment of commands: the user's, but for what decides results."""
    return AT_FIRST | {"PYTEST_CURRENT_TEST": os.environ.get("PYTEST_CURRENT_TEST", "")}


def folder() -> str | None:
    """Return the folder of `python` and `dvc`, if the session has a server."""
    return os.environ.get(FOLDER)


def fork_recorders(patch: pytest.MonkeyPatch) -> None:
    """Let what this process starts by itself be forked, with the environment of commands."""
    for name in filter(lambda name: name.startswith(DROPPED), [*os.environ]):
        patch.delenv(name)
    if folder():
        patch.setattr(sys, "executable", f"{folder()}/python")


def forked(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """Return a command and its environment, as arguments of `subprocess.Popen`, to be forked."""
    if not folder() or environment.get("COLD"):
        return {"args": command, "env": environment}
    return {
        "args": ["python" if word == sys.executable else word for word in command],
        "env": environment | {"PATH": f"{folder()}{os.pathsep}{environment['PATH']}"},
    }


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that shows where the time goes."""
    parser.addoption("--processor-time", action="store_true", help="of each test, in seconds")


def pytest_configure(config: pytest.Config) -> None:
    """Start the server before the workers, and end it with the session."""
    log = None
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        config.add_cleanup(stack.close)
        log = stack.enter_context(started())
    if config.getoption("--processor-time"):
        config.pluginmanager.register(ProcessorTime(log))


@contextmanager
def started() -> Iterator[Path | None]:
    """Start the server, which imports nothing before the first command; end it."""
    if sys.platform != "linux" or os.environ.get("COLD"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pytest-forks-", ignore_cleanup_errors=True) as made:
        here, programs = Path(made), Path(sys.executable).parent
        address, log = here / "socket", here / "seconds"
        for name, script in {"python": "", "dvc": str(programs / "dvc")}.items():
            words = {
                "python": sys.executable,
                "shim": str(Path(__file__).with_name("shim.py")),
                "address": str(address),
                "script": script,
            }
            path = here / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                SHIM.format(**{key: shlex.quote(word) for key, word in words.items()}),
                encoding="utf-8",
            )
            path.chmod(0o755)
        with (
            (here / "errors").open("w+", encoding="utf-8") as errors,
            log.open("w", encoding="utf-8") as seconds,
        ):
            server = [sys.executable, "-m", "tests.commands.server"]
            process = subprocess.Popen(
                [*server, address, here / "bin/python", PADDING],
                cwd=Path(__file__).parents[2],
                env=inherited(),
                stdin=subprocess.PIPE,
                stdout=seconds,
                stderr=errors,
                start_new_session=True,
            )
            while not address.exists():
                assert process.poll() is None, (here / "errors").read_text(encoding="utf-8")
                time.sleep(0.01)
            os.environ[FOLDER] = str(here / "bin")
            try:
                yield log
            finally:
                del os.environ[FOLDER]
                assert process.stdin
                process.stdin.close()
                process.wait()
                errors.seek(0)
                print(errors.read(), end="", file=sys.stderr)
