"""The projects of the tests: fresh, reproduced, with real MNIST; each made once, and copied."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.commands.session import pytest_addoption, pytest_configure  # noqa: F401  # hooks
from tests.project import COPIED, PARAMS, ROOT, Project, make_project  # noqa: F401  # for the tests

# ignored in a script's background and below `nohup`; the commands that tests interrupt must not
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make a folder once for all workers of pytest-xdist."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name
    with FileLock(f"{folder}.lock"):
        if not (folder / ".made").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / ".made").touch()
    return folder


LONGEST = (  # ten seconds or more
    "test_a_locked_store_delays_the_end_and_loses_nothing",
    "test_the_commit_is_reproduced_and_nothing_is_touched",
    "test_what_lies_in_own_is_tracked_used_served_and_verified",
    "test_a_killed_training_goes_on",
    "test_a_study_searches_its_space_and_goes_on",
    "test_seeds_are_trained_once_and_tested_as_the_pipeline_is",
    "test_a_sweep_ends_in_an_answer_and_is_not_run_twice",
    "test_the_same_bits_in_every_process",
    "test_an_experiment_has_one_name_and_its_record_stays",
    "test_a_server_that_comes_back_gets_the_whole_record",
    "test_every_preset_runs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, else all would wait for one of them in the end."""
    items.sort(key=lambda item: not item.name.startswith(LONGEST))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project in which nothing has run; its folder has a space in its name."""
    return make_project(tmp_path / "my project")


@pytest.fixture(scope="session")
def reproduced_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        made = make_project(folder / "project")
        assert made.repro() == ["download", "preprocess", "train", "evaluate", "plot"]
        made.commit()
        made.run("git", "repack", "-adq")  # one file to copy instead of hundreds

    return once(tmp_path_factory, "reproduced", make)


@pytest.fixture
def reproduced(reproduced_once: Path, tmp_path: Path) -> Project:
    """A project after `dvc repro` and a commit."""
    shutil.copytree(reproduced_once / "project", tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


@pytest.fixture
def port() -> Iterator[int]:
    """A port for a server, which no other process is given before it listens."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers set it
        kept.bind(("127.0.0.1", 0))
        yield int(kept.getsockname()[1])


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with real MNIST, for the tests that are of it alone."""
    if not (ROOT / "conf/dataset/mnist.yaml").exists():
        pytest.skip("this project has no MNIST")

    def make(folder: Path) -> None:
        made = make_project(folder / "project")
        made.edit("params.yaml", "dataset: tiny", "dataset: mnist")
        made.stage("download")
        made.stage("preprocess")

    return once(tmp_path_factory, "mnist", make) / "project"
