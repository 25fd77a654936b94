"""The users, terminals and signals that a command of the pipeline meets."""

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios

import mlflow
import pytest

from tests.conftest import ROOT, Project

TRAIN = (sys.executable, "-m", "pipeline.train")
NO_NAME = ("unshare", "--user", "--map-user=12345")
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def has_users() -> bool:
    """Tell whether this system lets a test be a user without a name."""
    if shutil.which("unshare") is None:
        return False
    return not subprocess.run([*NO_NAME, "true"], check=False, capture_output=True).returncode


@pytest.mark.slow
@pytest.mark.skipif(not has_users(), reason="no user namespaces")
def test_a_user_without_a_name_in_a_folder_of_another_user(reproduced: Project) -> None:
    unnamed = ("env", *(f"--unset={name}" for name in NAMES), *NO_NAME, *TRAIN)
    done = reproduced.run(*unnamed, "seed=7", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    line = done.stdout.splitlines()[0]
    assert line.startswith("Note: the commit is not recorded: git does not read this folder, as ")
    assert f"`git config --global --add safe.directory {reproduced.folder}`" in line
    mlflow.set_tracking_uri(f"sqlite:///{reproduced / 'mlflow.db'}")
    run, *_ = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.data.tags["mlflow.user"] == "12345"
    assert "mlflow.source.git.commit" not in run.data.tags


@pytest.mark.slow
def test_a_home_that_cannot_be_written(reproduced: Project) -> None:
    done = reproduced.stage("plot", HOME="/dev/null")
    assert done.stdout.startswith("plots: loss, accuracy, confusion_matrix, weights, mistakes\n")
    assert "matplotlib" not in (done.stdout + done.stderr).lower()


@pytest.mark.slow
def test_a_closed_terminal_stops_nothing(reproduced: Project) -> None:
    done = reproduced.run("sh", "-c", f"{sys.executable} -m pipeline.train <&- 2>&-")
    assert done.stdout.count("val_accuracy") == 3


TERMINALS = [80, 0]  # columns
BAR = """
from pipeline.learning.bar import Bar
from pipeline.learning.history import Epoch
with Bar(0, 1000) as bar:
    for epoch in range(1, 1001):
        bar.show(Epoch(epoch, *[0.5] * 4))
"""


@pytest.mark.parametrize("columns", TERMINALS)
def test_a_bar_shows_all_values(project: Project, columns: int) -> None:
    on_a_terminal(project, columns, sys.executable, "-c", BAR)


@pytest.mark.slow
@pytest.mark.parametrize("columns", TERMINALS)
def test_a_terminal_shows_all_values(reproduced: Project, columns: int) -> None:
    on_a_terminal(reproduced, columns, *TRAIN, "train.epochs=1000")


def on_a_terminal(project: Project, columns: int, *command: str) -> None:
    """Run a command whose last line must have the values of epoch 1000, and fit."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", min(columns, 24), columns, 0, 0))
    process = project.start(*command, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while some := os.read(ours, 4096):
            shown += some
    except OSError:  # how Linux says that nobody writes any more
        pass
    assert process.wait() == 0
    last = shown.decode().replace("\n", "").split("\r")[-2:]
    line = next(part for part in reversed(last) if part)
    assert line.startswith("1000/1000 ")
    names = [word for word in line.split() if word.endswith(("loss", "acc"))]
    assert names == ["loss", "acc", "val_loss", "val_acc"]
    assert len(line.rpartition("val_acc ")[2]) == len("0.1234")
    assert len(line) < 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_signals_of_a_script_in_the_background(number: signal.Signals) -> None:
    code = f"""
import signal
signal.signal({number}, signal.SIG_IGN)
from pipeline.cli.signals import end_in_order
end_in_order()
assert signal.getsignal({number}) is signal.SIG_IGN
import tests.conftest
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.getsignal({number}) is not signal.SIG_IGN
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
