"""The faults of tests/test_faults.py in the stages and sweeps that take longer."""

import pytest

from tests import test_faults as faults
from tests.conftest import Project, reproduced, reproduced_once
from tests.test_faults import FULL, Disk, disk

__all__ = ["disk", "reproduced", "reproduced_once"]
SLOW = [stage for stage in faults.STAGES if stage not in faults.QUICK]


@pytest.mark.parametrize("stage", SLOW)
def test_a_full_disk(disk: Disk, stage: str) -> None:  # the fixture
    faults.run_on_a_full_disk(disk, stage)


def test_a_sweep_on_a_full_disk_ends_in_one_line(disk: Disk) -> None:
    disk.fill()
    for options in (["seed=1,2"], ["seed=1,2", "train.epochs=1"]):
        done = disk.project.stage("train", "-m", *options, code=1)
        assert FULL in done.stderr
        assert "Traceback" not in done.stderr
    disk.empty()
    done = disk.project.stage("train", "-m", "seed=1,2")
    assert "None is best: " in done.stdout


@pytest.mark.parametrize("stage", SLOW)
def test_a_read_only_folder(reproduced: Project, stage: str) -> None:
    faults.run_in_a_read_only_folder(reproduced, stage)


@pytest.mark.parametrize("rest", ["|", "hydra/launcher=joblib |"])
def test_a_reader_that_leaves(reproduced: Project, rest: str) -> None:
    faults.sweep_before_a_reader_that_leaves(reproduced, rest)
