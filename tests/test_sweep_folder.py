"""A sweep whose folders the user has chosen: its answer, and the promotion of its trials."""

import pytest

from pipeline.sweeping import folders
from pipeline.trials.trial_file import Trial
from tests.conftest import Project
from tests.test_sweep import sweep

NUMBER = "hydra.sweep.subdir=deep/${hydra:job.num}"


LAUNCHERS = {
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1"),
}


@pytest.fixture(params=["basic", "joblib"])
def ended(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> dict[str, list[Trial]]:
    """The trials of a usual sweep and of one elsewhere, which was begun later."""
    monkeypatch.chdir(reproduced.folder)
    elsewhere = reproduced.folder.parent / "else where"
    sweep(reproduced, "train.learning_rate=0.5,0.6")
    sweep(
        reproduced,
        "train.learning_rate=1e-6,2e-6",
        f"hydra.sweep.dir='{elsewhere}'",
        "hydra.sweep.subdir=deep/${hydra:job.override_dirname}",
        *LAUNCHERS[request.param],
    )
    usual, other = folders.begun()
    assert other == elsewhere
    return {"usual": folders.trials(usual), "elsewhere": folders.trials(other)}


def rate(project: Project) -> str:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    return text.partition("learning_rate: ")[2].split()[0]


@pytest.mark.slow
def test_a_trial_is_promoted_wherever_it_lies(
    reproduced: Project, ended: dict[str, list[Trial]]
) -> None:
    assert [len(found) for found in ended.values()] == [2, 2]
    for one in ended["elsewhere"]:
        assert f"else where/deep/train.learning_rate={one.settings['train']['learning_rate']}" in (
            one.folder
        )
    reproduced.stage("promote")
    assert float(rate(reproduced)) in (1e-6, 2e-6)
    for one in (ended["usual"][0], *ended["elsewhere"]):
        reproduced.stage("promote", f"run_id={one.run_id}")
        assert float(rate(reproduced)) == one.settings["train"]["learning_rate"]
    sweep(reproduced, "train.learning_rate=0.5,0.6")  # which has ended: now it was begun last
    assert folders.begun()[-1].parent.name == "multirun"


def test_a_folder_holds_one_sweep(reproduced: Project) -> None:
    folder = "hydra.sweep.dir=multirun/mine"

    def files() -> list[str]:
        every = reproduced.folder.rglob("*")
        return sorted(path.name for path in every if "__pycache__" not in path.parts)

    def refused(*arguments: str) -> str:
        before = files()
        line = sweep(reproduced, *arguments, code=1).stderr
        assert files() == before
        return line

    assert refused("hydra.sweep.dir=conf", "seed=1,2") == (
        "train: hydra.sweep.dir: conf has other files in it: give a sweep a new folder\n"
    )
    for same in ("same", "../${hydra:job.num}"):
        assert refused(f"hydra.sweep.subdir={same}", "seed=1,2") == (
            "train: hydra.sweep.subdir: should be another folder for each trial, below the "
            "sweep's, as deep/${hydra:job.num}\n"
        )
    sweep(reproduced, folder, NUMBER, "seed=1,2")
    assert refused(folder, "seed=4,5") == (
        "train: hydra.sweep.dir: multirun/mine has a sweep of another command, or of other "
        "settings, data or code: give another folder, or remove this one\n"
    )
    again = sweep(reproduced, folder, NUMBER, "seed=1,2")
    assert again.stdout.count("(done before, in multirun/mine/deep/") == 2


@pytest.mark.slow
def test_optuna_finds_its_trials_in_other_folders(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced.folder)
    given = ("hydra/sweeper=optuna", "train.epochs=range(1,9)", NUMBER)
    done = sweep(reproduced, *given, "hydra.sweeper.n_trials=2")
    assert "trial 1 (2 of 2)  epochs=" in done.stdout
    done = sweep(reproduced, *given, "hydra.sweeper.n_trials=3")
    assert "2 trials done, 1 left" in done.stdout
    assert "trial 2 (3 of 3)  epochs=" in done.stdout
    (folder,) = folders.begun()
    found = {one.folder: one.status for one in folders.trials(folder)}
    assert found == {f"{folder}/deep/{number}": "FINISHED" for number in range(3)}


def test_a_single_run_stays_in_the_root(reproduced: Project) -> None:
    done = reproduced.stage("train", "hydra.job.chdir=true", code=1)
    assert done.stderr == (
        "train: hydra.job.chdir=true is not supported: leave it out, as paths are relative to "
        "the project's root\n"
    )
