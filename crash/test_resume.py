"""The killed trainings of tests/test_resume.py, with more that dies, or is gone, with them."""

import os
import signal
import sys

import pytest

from pipeline.files import sha256
from tests.conftest import Project, reproduced, reproduced_once
from tests.test_resume import (
    kill_a_sweep_and_go_on,
    kill_and_go_on,
    long,
    start,
    uninterrupted,
)

__all__ = ["long", "reproduced", "reproduced_once", "uninterrupted"]
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("how", ["everything", "the store too"])
def test_a_killed_training_goes_on(long: Project, uninterrupted: Project, how: str) -> None:
    kill_and_go_on(long, uninterrupted, how)


def test_it_goes_on_without_the_store(long: Project, uninterrupted: Project) -> None:
    os.killpg(start(long, sys.executable, "-m", "pipeline.train").pid, signal.SIGKILL)
    done = long.stage("train", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "going on from epoch" in done.stdout
    for name in ("models/weights.npz", "metrics/history.csv"):
        assert sha256(long / name) == sha256(uninterrupted / name)


def test_a_killed_study_goes_on_within_its_trial(long: Project, uninterrupted: Project) -> None:
    kill_a_sweep_and_go_on(long, uninterrupted, "optuna")
