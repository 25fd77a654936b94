"""A full disk, read-only folders, a locked store, output that nobody reads to its end."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.files import replacing, sha256
from tests.conftest import Project
from tests.test_sweep import statuses, trials
from tests.test_tracking import runs, start

STAGES = {
    "download": "data/raw/tiny/train-images-idx3-ubyte",
    "preprocess": "data/processed/x_train.npy",
    "train": "models/weights.npz",
    "evaluate": "metrics/evaluation.json",
    "plot": "plots/loss.png",
}


QUICK = ("download", "plot")  # the others: `make crash`
FULL = "cannot be written: the disk is full: make room and run this again"


class Disk:
    """A disk of its own, small, that can be full or read-only, with a project on it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.project = Project(folder / "project")

    def fill(self, free: int = 0) -> None:
        """Leave no more than so many bytes."""
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            while shutil.disk_usage(self.folder).free > free:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Make room again."""
        (self.folder / "ballast").unlink()


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(reproduced_once: Path, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=32m", "none", folder)
    try:
        shutil.copytree(reproduced_once / "project", folder / "project", symlinks=True)
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("stage", QUICK)
def test_a_full_disk_is_named_and_costs_nothing_that_was_there(disk: Disk, stage: str) -> None:
    run_on_a_full_disk(disk, stage)


def run_on_a_full_disk(disk: Disk, stage: str) -> None:
    project, out = disk.project, disk.project / STAGES[stage]
    before = (project / "dvc.lock").read_bytes()
    out.unlink()
    disk.fill()
    done = project.stage(stage, code=1)
    assert done.stderr == f"{stage}: {STAGES[stage]}: {FULL}\n"
    assert not out.exists()
    assert not list(project.folder.rglob("*.part"))
    disk.empty()
    assert stage in project.repro() or stage == "preprocess"  # that is in DVC's cache
    assert (project / "dvc.lock").read_bytes() == before
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_dvc_itself_on_a_full_disk(disk: Disk) -> None:
    project = disk.project
    before = (project / "dvc.lock").read_bytes()
    (project / "plots/loss.png").unlink()
    disk.fill()
    done = project.run("dvc", "repro", code=None)
    assert done.returncode != 0
    assert "ERROR: failed to reproduce '" in done.stderr  # DVC's own words
    disk.empty()
    project.stage("repair")
    assert project.repro() == ["plot"]
    assert (project / "dvc.lock").read_bytes() == before


@pytest.mark.parametrize("stage", QUICK)
def test_a_read_only_folder_is_named(reproduced: Project, stage: str) -> None:
    run_in_a_read_only_folder(reproduced, stage)


def run_in_a_read_only_folder(reproduced: Project, stage: str) -> None:
    out = reproduced / STAGES[stage]
    before = out.read_bytes()
    if stage == "download":
        out.unlink()
    mount("--bind", out.parent, out.parent)
    try:
        mount("-o", "remount,bind,ro", out.parent)
        done = reproduced.stage(stage, code=1)
    finally:
        subprocess.run(["umount", "--lazy", out.parent], check=True)
    assert done.stderr == f"{stage}: {STAGES[stage]}: cannot be written: Read-only file system\n"
    assert stage == "download" or out.read_bytes() == before


def test_a_read_only_project_is_named(disk: Disk) -> None:
    mount("-o", "remount,ro", disk.folder)
    done = disk.project.stage("train", code=1)
    assert done.stderr == "train: models/weights.npz: cannot be written: Read-only file system\n"
    done = disk.project.stage("train", "-m", "seed=1,2", code=1)
    (line,) = done.stderr.splitlines()
    assert line.startswith("train: multirun")
    assert line.endswith(": cannot be written: Read-only file system")


HOLD = """\
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(10)
sys.stdin.read()
connection.execute("COMMIT")
"""


def test_a_locked_store_delays_the_end_and_loses_nothing(reproduced: Project) -> None:
    (reproduced / "models/weights.npz").unlink()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, reproduced / "mlflow.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    command = (sys.executable, "-m", "pipeline.train")
    process = reproduced.start(*command, killed=False, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]  # all epochs, while the store is locked
    assert holder.stdin is not None
    holder.stdin.close()  # it lets go after 10 s at the earliest
    output = "".join(lines) + process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert lines[-1].startswith("epoch   3/3"), lines
    assert "no complete record" not in output
    run = runs(reproduced)[0]
    assert run.info.status == "FINISHED"
    assert run.data.tags["weights_sha256"] == sha256(reproduced / "models/weights.npz")
    steps = MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}").get_metric_history(
        run.info.run_id, "loss"
    )
    assert [point.step for point in steps] == [1, 2, 3]


def test_a_reader_that_leaves_costs_no_results(reproduced: Project) -> None:
    sweep_before_a_reader_that_leaves(reproduced, "2>&1 |")


def sweep_before_a_reader_that_leaves(reproduced: Project, rest: str) -> None:
    command = f"python -m pipeline.train -m seed=1,2 {rest} head -1"
    done = reproduced.run("bash", "-o", "pipefail", "-c", command)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    folder = next((reproduced / "multirun").glob("seed-*"))
    assert [one.status for one in trials(reproduced)] == ["FINISHED", "FINISHED"]
    assert len((folder / "sweep.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert (folder / "objective.png").exists()
    assert statuses(reproduced, "sweep") == ["FINISHED"]


WRITE = """\
import sys, time
from pathlib import Path
from pipeline.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    time.sleep(100)
"""


def test_what_a_killed_process_was_writing_is_removed_by_the_next_that_writes_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file [1]"
    with subprocess.Popen([sys.executable, "-c", WRITE, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert not path.exists()
        with replacing(path) as temporary:
            temporary.write_text("whole", encoding="utf-8")
        assert len(list(tmp_path.glob(".*.part"))) == 1  # it is still being written
        writer.kill()
    (tmp_path / ".file.x.part").touch()  # of another file
    with replacing(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"
    assert [left.name for left in tmp_path.glob(".*")] == [".file.x.part"]


def test_only_a_run_whose_recorder_was_killed_too_is_ended_by_the_next(reproduced: Project) -> None:
    def status() -> str:
        return next((run.info.status for run in runs(reproduced) if run.info.run_id not in old), "")

    reproduced.stage("record")  # makes a run, since the project has been copied to here
    old = {run.info.run_id for run in runs(reproduced)}
    process = start(reproduced)
    deadline = time.monotonic() + 60
    while not status() and time.monotonic() < deadline:
        time.sleep(0.1)
    try:
        reproduced.stage("record")
        assert status() == "RUNNING"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert status() == "RUNNING"
    reproduced.stage("record")
    assert status() == "KILLED"


HOLDER = '{"write": {}, "read": {"%s/dvc.yaml": [{"pid": %d, "cmd": "dvc repro"}]}}'
HALF = {
    "an empty list of holders": (".dvc/tmp/rwlock", lambda project, text: ""),
    "half a list of holders": (".dvc/tmp/rwlock", lambda project, text: '{"write": {"/a'),
    "a holder whose number has another process now": (
        ".dvc/tmp/rwlock",
        lambda project, text: HOLDER % (project.folder, os.getpid()),
    ),
    "an empty dvc.lock": ("dvc.lock", lambda project, text: ""),
    "half a dvc.lock": ("dvc.lock", lambda project, text: text[: text.rindex("    hash:") + 6]),
    "a dvc.lock cut off before a value": (
        "dvc.lock",
        lambda project, text: text[: text.rindex("    hash:") + 9],
    ),
}


@pytest.mark.parametrize("half", HALF)
def test_what_a_killed_dvc_has_half_written_is_repaired(reproduced: Project, half: str) -> None:
    name, cut = HALF[half]
    before = (reproduced / "dvc.lock").read_text(encoding="utf-8")
    (reproduced / name).write_text(cut(reproduced, before), encoding="utf-8")
    done = reproduced.stage("repair")
    assert done.stdout.startswith(f"{name}: ")
    assert reproduced.stage("repair").stdout == ""
    assert reproduced.repro() == []
    assert (reproduced / "dvc.lock").read_text(encoding="utf-8") == before


def test_nothing_is_repaired_while_dvc_runs(reproduced: Project) -> None:
    (reproduced / "dvc.lock").write_text("", encoding="utf-8")
    with (reproduced / ".dvc/tmp/lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as DVC does
        assert reproduced.stage("repair", code=1).stderr == (
            "repair: .dvc/tmp/lock: DVC is running: wait for its end, or stop it\n"
        )
    assert (reproduced / "dvc.lock").read_text(encoding="utf-8") == ""
