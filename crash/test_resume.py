"""Killed trainings, as in tests/test_resume.py, whose recorder dies or whose record is gone too."""

import sys
import time

import pytest

from pipeline.files import sha256
from tests.conftest import Project, reproduced, reproduced_once
from tests.test_resume import (
    kill_a_sweep_and_go_on,
    kill_all,
    kill_and_go_on,
    long,
    start,
    uninterrupted,
)
from tests.test_together import FILES, bits, ten, ten_once, trials

__all__ = ["long", "reproduced", "reproduced_once", "ten", "ten_once", "uninterrupted"]
RATES = ("train.learning_rate=0.1,0.2,0.3",)
LONG = ("train.epochs=1000", "optimizer.momentum=0.9")


@pytest.mark.parametrize("how", ["everything", "the store too"])
def test_a_killed_training_goes_on(long: Project, uninterrupted: Project, how: str) -> None:
    kill_and_go_on(long, uninterrupted, how)


def test_it_goes_on_without_the_store(long: Project, uninterrupted: Project) -> None:
    kill_all(start(long, sys.executable, "-m", "pipeline.train"))
    done = long.stage("train", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "going on from epoch" in done.stdout
    for name in ("models/weights.npz", "metrics/history.csv"):
        assert sha256(long / name) == sha256(uninterrupted / name)


def test_a_killed_study_goes_on_within_its_trial(long: Project, uninterrupted: Project) -> None:
    kill_a_sweep_and_go_on(long, uninterrupted, "optuna")


def test_a_killed_sweep_goes_on_with_all_that_were_trained(ten: Project) -> None:
    process = ten.start(sys.executable, "-m", "pipeline.train", "-m", *RATES, *LONG)
    deadline = time.monotonic() + 60
    while len(list((ten / "checkpoints").glob("*.npz"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill_all(process)
    again = ten.stage("train", "-m", *RATES, *LONG)
    assert again.stdout.count("going on from epoch") == 3
    assert "trained together: learning rates 0.1, 0.2, 0.3\n" in again.stdout
    ended = trials(ten)
    assert [one.status for one in ended] == ["FINISHED"] * 3
    assert list((ten / "checkpoints").glob("*.npz")) == []
    ten.stage("train", "train.learning_rate=0.3", *LONG)
    assert bits(ten, ended[2]) == [sha256(ten / name) for name in FILES]
