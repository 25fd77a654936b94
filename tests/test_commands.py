"""A command that is forked is the command that is started from nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import session
from tests.conftest import ROOT, Project

if not session.folder():
    pytest.skip("nothing is forked in this session", allow_module_level=True)

PROGRAM = """\
import gc, json, os, signal, sys, threading
from pathlib import Path

shown = Path("/proc/self/cmdline").read_text().rstrip("\\0").split("\\0")
print(json.dumps({
    "arguments": sys.argv,
    "path": sys.path,
    "name": __name__,
    "main": {k: str(v) for k, v in vars(sys.modules["__main__"]).items() if k == "__file__"},
    "imported": [one for one in ("numpy", "tensorflow", "mlflow", "dvc") if one in sys.modules],
    "folder": os.getcwd(),
    "environment": {k: v for k, v in os.environ.items() if k not in ("PATH", "PWD", "COLD")},
    "input": sys.stdin.read(),
    "streams": [(one.encoding, one.line_buffering) for one in (sys.stdin, sys.stdout, sys.stderr)],
    "signals": [str(signal.getsignal(number)) for number in (2, 13, 15, 17)],
    "mask": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "descriptors": len(os.listdir("/proc/self/fd")),
    "threads": [threading.active_count(), len(os.listdir("/proc/self/task"))],
    "shown": shown[1:],
    "gc": [gc.isenabled(), gc.get_threshold()],
    "umask": os.umask(0),
}))
"""
ENDS = {
    "nothing": "",
    "a number": "sys.exit(3)",
    "a text": "sys.exit('no')",
    "an error": "1 / 0",
    "an interruption": "sys.stdout.flush(); raise KeyboardInterrupt",
    "a signal": "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)",
    "a kill": "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)",
    "at once": "sys.stdout.flush(); os._exit(7)",
    "what is registered": "import atexit; atexit.register(print, 'end')",
    "a thread": "threading.Timer(0.2, print, ['thread']).start()",
    "nobody who reads": "os.close(1)",
}
WAYS = {
    "-c": lambda program: ["-c", program.read_text(encoding="utf-8")],
    "-m": lambda program: ["-m", program.stem],
    "a file": lambda program: [str(program)],
}
FORKED = "import os, time; print(os.getpid(), flush=True); time.sleep(SECONDS)"


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """A folder without a pipeline."""
    (tmp_path / "bare").mkdir()
    return Project(tmp_path / "bare")


def start(
    project: Project, *command: str, start_new_session: bool = False, **more: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        **session.forked(command, project.environment(**more)),
        start_new_session=start_new_session,
        cwd=project.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def said(project: Project, *command: str, **more: str) -> tuple[object, ...]:
    more = {"PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}/nowhere"} | more
    process = start(project, sys.executable, *command, "a b", "", **more)
    output, errors = process.communicate("input")
    first, _, rest = output.partition("\n")
    return json.loads(first) if first else None, rest, errors, process.returncode


@pytest.mark.parametrize("way", WAYS)
def test_it_has_what_it_has_from_nothing_and_ends_so(bare: Project, way: str) -> None:
    program = bare / "program.py"
    for end in ENDS.values():
        program.write_text(f"{PROGRAM}\n{end}\n", encoding="utf-8")
        command = WAYS[way](program)
        assert said(bare, *command) == said(bare, *command, COLD="1"), end


@pytest.mark.parametrize("command", ["-m dvc --version", "-m dvc x", "-m hydra", "-m no_such"])
def test_an_installed_module_is_run_as_from_nothing(bare: Project, command: str) -> None:
    def ran(**more: str) -> tuple[str, str, int]:
        done = bare.run(sys.executable, *command.split(), code=None, **more)
        errors = re.sub(r"^/.*/python: ", "", done.stderr, flags=re.MULTILINE)
        return done.stdout, errors, done.returncode

    assert ran() == ran(COLD="1")


def test_a_package_is_there_when_it_is_imported(bare: Project) -> None:
    code = (
        "import importlib.util as util, sys; found = util.find_spec('tensorflow'); "
        "print('tensorflow' in sys.modules, 'keras' in sys.modules, found.origin); "
        "import mlflow; print('tensorflow' in sys.modules, mlflow.__spec__.loader)"
    )
    assert re.sub(" at 0x.*", "", bare.run(sys.executable, "-c", code).stdout) == re.sub(
        " at 0x.*", "", bare.run(sys.executable, "-c", code, COLD="1").stdout
    )


def test_an_import_leaves_the_streams_that_a_command_has_chosen(bare: Project) -> None:
    code = "import io, sys; sys.stdout = io.StringIO(); import numpy, mlflow; print(1)"
    assert bare.run(sys.executable, "-c", code).stdout == ""


def test_it_has_the_descriptors_that_it_is_given(bare: Project) -> None:
    numbers = [os.memfd_create("left"), os.memfd_create("right")]
    for number in numbers:
        os.write(number, b"the parent's\n")
    code = f"import os; [os.write(one, b'its own') for one in {numbers}]; print(os.getpid())"
    process = subprocess.Popen(
        **session.forked([sys.executable, "-c", code], bare.environment()),
        cwd=bare.folder,
        pass_fds=numbers,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    output, _ = process.communicate()
    assert int(output) != process.pid  # it is forked
    for number in numbers:
        assert os.pread(number, 100, 0) == b"the parent's\nits own"
        os.close(number)


def is_forked(project: Project, *before: str, **more: str) -> bool:
    code = FORKED.replace("SECONDS", "0")
    process = start(project, *before, sys.executable, "-c", code, **more)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return int(output) != process.pid


def test_what_could_make_a_difference_starts_it_from_nothing(bare: Project) -> None:
    assert is_forked(bare)
    assert is_forked(bare, MLFLOW_TRACKING_URI="sqlite:///other.db")
    for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED", "TF_ENABLE_ONEDNN_OPTS", "COLD"):
        assert not is_forked(bare, **{name: "2"}), name
    assert not is_forked(bare, "prlimit", "--nofile=500")
    assert not is_forked(bare, "setpriv", "--no-new-privs")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_it(bare: Project, number: int) -> None:
    process = start(bare, sys.executable, "-c", FORKED.replace("SECONDS", "60"))
    assert process.stdout
    process.stdout.readline()
    process.send_signal(number)
    assert process.wait(30) == -number


@pytest.mark.parametrize("leads", [True, False])
def test_nothing_of_it_outlives_a_kill(bare: Project, leads: bool) -> None:
    code = FORKED.replace("SECONDS", "60")
    if leads:  # a group, of which all is killed
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    process = start(bare, sys.executable, "-c", code, start_new_session=leads)
    assert process.stdout
    forked = Path(f"/proc/{process.stdout.readline().strip()}")
    assert forked.exists()
    if leads:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    deadline = time.monotonic() + 30
    while forked.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not forked.exists()
