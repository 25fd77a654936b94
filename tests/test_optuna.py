"""Sweeps in which Optuna chooses, through the command line, read back from folders and study."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from hydra_plugins.softmax_pipeline._search_space import values
from pipeline.errors import UserError
from pipeline.learning.history import Epoch
from pipeline.settings.schema import Sweep
from pipeline.sweeping.pruning import Pruned, reporter
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial
from tests.conftest import Project
from tests.defaults import choices

OPTUNA = ("-m", "pipeline.train", "-m", "hydra/sweeper=optuna")
RATE = "train.learning_rate=tag(log, interval(0.01, 1))"
SPACE = (
    RATE,
    "train.batch_size=range(16,40,step=8)",
    "optimizer.momentum=range(0.0,0.5,step=0.1)",
    "model=choice(logistic_regression,mlp)",
    "train.epochs=int(interval(1,2))",
    "train.validation_size=20,40",
    "optimizer=glob(sg*)",
    "seed=7",
)
SPACES = {
    "a=choice(64,x,true)": "CategoricalDistribution(choices=('64', 'x', 'True'))",
    "a=1,2": "CategoricalDistribution(choices=('1', '2'))",
    "a='1,2','x y'": """CategoricalDistribution(choices=("'1,2'", "'x y'"))""",
    "a=range(1,10)": "IntDistribution(high=9, log=False, low=1, step=1)",
    "a=range(10,1,step=-4)": "IntDistribution(high=10, log=False, low=2, step=4)",
    "a=range(0.5,2,step=0.5)": "FloatDistribution(high=1.5, log=False, low=0.5, step=0.5)",
    "a=interval(1,10)": "FloatDistribution(high=10.0, log=False, low=1.0, step=None)",
    "a=int(interval(1,10))": "IntDistribution(high=10, log=False, low=1, step=1)",
    "a=tag(log, int(interval(1,9)))": "IntDistribution(high=9, log=True, low=1, step=1)",
    "a=tag(log, interval(1e-4,1))": "FloatDistribution(high=1.0, log=True, low=0.0001, step=None)",
}
NO_SPACES = {
    "a=range(5,5)": "the range is empty",
    "a=range(1,5,step=0)": "range() arg 3 must not be zero",
    "a=interval(1,0.5)": "`low <= high` must hold, but got (low=1.0, high=0.5).",
    "a=tag(log, interval(0,1))": (
        "`low > 0` must hold for `log=True`, but got (low=0.0, high=1.0)."
    ),
    "a=tag(logs, interval(0.1,1))": "the only tag is log, as in tag(log, interval(0.01, 1))",
}
ERRORS = {
    "hydra.sweeper.sampler=tpee": (
        "hydra.sweeper.sampler should be 'tpe', 'random' or 'cmaes', not 'tpee'"
    ),
    "train.learning_rate=interval(1,0.1)": "train.learning_rate=interval(1,0.1): `low <= high`",
    "train.learning_rate=interval(0.1": "no viable alternative at input 'interval(0.1'",
    "model=choice(logistic)": (f"model: there is no 'logistic'; choose one of {choices('model')}"),
    "sweep.storage=optuna.db": "sweep.storage: Could not parse SQLAlchemy URL",
}


def sweep(project: Project, *arguments: str, code: int | None = 0) -> str:
    """Run a sweep; return its standard output."""
    return project.run(sys.executable, *OPTUNA, *arguments, code=code).stdout


def start(project: Project, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *OPTUNA, *arguments],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def trials(project: Project, sweep: str = "*") -> list[Trial]:
    paths = (project / "multirun").glob(f"{sweep}/*/trial.json")
    return sorted((trial_file.read(path) for path in paths), key=lambda one: one.number)


def studies(project: Project) -> list[optuna.Study]:
    url = f"sqlite:///{project / 'optuna.db'}"
    return [
        optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)
    ]


def states(study: optuna.Study) -> Counter[str]:
    return Counter(one.state.name for one in study.trials)


def test_a_study_searches_its_space_and_goes_on(reproduced: Project) -> None:
    output = sweep(reproduced, *SPACE, "hydra.sweeper.n_trials=3")
    ended = trials(reproduced)
    assert [one.number for one in ended] == list(range(3))
    assert [one.status for one in ended] == ["FINISHED"] * 3
    assert output.count("FINISHED") == 6  # a line and a row of the table each
    assert "in sqlite:///optuna.db: 0 trials done, 3 left" in output
    assert "trials have ended" not in output  # which would say that some are missing
    for one in ended:
        train, optimizer = one.settings["train"], one.settings["optimizer"]
        assert 0.01 <= train["learning_rate"] <= 1
        assert train["batch_size"] in {16, 24, 32}
        assert train["epochs"] in {1, 2}
        assert train["validation_size"] in {20, 40}
        assert optimizer["name"] == "sgd"
        assert optimizer["momentum"] in {0.0, 0.1, 0.2, 0.3, 0.4}
        assert one.settings["model"]["name"] in {"logistic_regression", "mlp"}
        assert one.settings["seed"] == 7
    assert len({one.settings["train"]["learning_rate"] for one in ended}) == 3
    (study,) = studies(reproduced)
    assert study.study_name == reproduced.folder.joinpath(ended[0].folder).parent.name
    assert [one.value for one in study.trials] == [one.metrics["val_accuracy"] for one in ended]

    again = sweep(reproduced, *SPACE, "hydra.sweeper.n_trials=3")
    assert "3 trials done, 0 left" in again
    assert again.count("FINISHED") == 3
    assert trials(reproduced) == ended

    more = sweep(reproduced, *SPACE, "hydra.sweeper.n_trials=5", "hydra.sweeper.batch=2")
    assert "3 trials done, 2 left" in more
    assert "trials have ended" not in more
    assert trials(reproduced)[:3] == ended
    assert len({one.settings["train"]["learning_rate"] for one in trials(reproduced)}) == 5


@pytest.mark.slow
def test_a_trial_that_fails_is_told_so(reproduced: Project) -> None:
    arguments = ("train.learning_rate=choice(0.1,1e38)", "hydra.sweeper.n_trials=4")
    sweep(reproduced, *arguments, code=1)
    ended = trials(reproduced)
    assert [one.number for one in ended] == list(range(4))
    (study,) = studies(reproduced)
    told = {"FAILED": "FAIL", "FINISHED": "COMPLETE"}
    assert [one.state.name for one in study.trials] == [told[one.status] for one in ended]
    failed = states(study)["FAIL"]
    assert 0 < failed < 4
    for one in ended:
        assert (one.status == "FAILED") == (one.settings["train"]["learning_rate"] == 1e38)
    again = sweep(reproduced, *arguments)
    assert f"{4 - failed} trials done, {failed} left" in again
    assert len(trials(reproduced)) == 4 + failed


def test_a_pruner_ends_a_trial_between_two_epochs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(study_name="s", storage=url, direction="minimize")
    study.set_user_attr("pruner", "halving")

    def train(loss: float) -> None:
        asked = study.ask()
        place = {"storage": url, "study": "s", "trial": asked.number}
        report = reporter(Sweep.model_construct(objective="loss", **place))
        for epoch in (1, 2, 3):
            report(Epoch(epoch, loss, 0.5))
        study.tell(asked, loss)

    for loss in (0.5, 0.4):
        train(loss)
    with pytest.raises(Pruned, match="pruned after epoch 1"):
        train(0.6)
    reporter(Sweep.model_construct(study=None, trial=None))(Epoch(1, 0.6, 0.5))


@pytest.mark.slow
def test_a_pruner_ends_trials(reproduced: Project) -> None:
    arguments = (
        RATE,
        "train.epochs=3",
        "sweep.objective=loss",
        "sweep.direction=minimize",
        "hydra.sweeper.pruner=halving",
        "hydra.sweeper.n_trials=7",
    )
    output = sweep(reproduced, *arguments)
    ended = trials(reproduced)
    (study,) = studies(reproduced)
    told = {"PRUNED": "PRUNED", "FINISHED": "COMPLETE"}
    assert [one.state.name for one in study.trials] == [told[one.status] for one in ended]
    assert states(study)["PRUNED"] > 0
    best = float("inf")  # after an epoch; halving learns its first rung from the first trial
    for number, (one, asked) in enumerate(zip(ended, study.trials, strict=True)):
        first = asked.intermediate_values[1]
        assert (one.status == "PRUNED") == (number > 0 and first > best)
        assert list(asked.intermediate_values) == ([1] if one.status == "PRUNED" else [1, 2, 3])
        best = min(best, first) if number else best
    assert "pruned after epoch 1" in output
    assert "7 trials done, 0 left" in sweep(reproduced, *arguments)


@pytest.mark.slow
def test_a_killed_sweep_goes_on(reproduced: Project) -> None:
    arguments = (RATE, "train.epochs=40", "hydra.sweeper.n_trials=4")
    process = start(reproduced, *arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 1 "):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = trials(reproduced)
    (study,) = studies(reproduced)
    assert states(study)["RUNNING"] <= 1

    output = sweep(reproduced, *arguments)
    after = trials(reproduced)
    assert "trials done, " in output
    finished = [one for one in after if one.status == "FINISHED"]
    assert len(finished) == 4
    done = [one for one in before if one.status == "FINISHED"]
    assert len(done) >= 2
    assert done == finished[: len(done)]
    (study,) = studies(reproduced)
    asked = {one.number: one.state.name for one in study.trials}
    for number in asked.keys() - {one.number for one in after}:  # killed before it had a folder
        assert asked.pop(number) == "FAIL"
    assert len(asked) == len(after) >= len(study.trials) - 1
    assert states(study)["COMPLETE"] == 4
    assert states(study)["RUNNING"] == 0


@pytest.mark.slow
def test_two_sweeps_at_once_one_of_them_in_parallel(reproduced: Project) -> None:
    parallel = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.batch=2")
    processes = [
        start(reproduced, RATE, "hydra.sweeper.n_trials=2", f"seed={seed}", *more)
        for seed, more in ((1, ()), (2, parallel))
    ]
    for process in processes:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
    assert [states(study) for study in studies(reproduced)] == [{"COMPLETE": 2}] * 2
    for study in studies(reproduced):
        assert (
            len(
                {
                    one.settings["train"]["learning_rate"]
                    for one in trials(reproduced, study.study_name)
                }
            )
            == 2
        )


@pytest.mark.parametrize("line", SPACES)
def test_a_space_is_what_hydra_says(line: str) -> None:
    assert str(values(parsed(line))) == SPACES[line]


@pytest.mark.parametrize("line", NO_SPACES)
def test_no_space(line: str) -> None:
    with pytest.raises(UserError) as caught:
        values(parsed(line))
    assert str(caught.value) == f"{line}: {NO_SPACES[line]}"


def parsed(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


@pytest.fixture(scope="module")
def ready(reproduced_once, tmp_path_factory) -> Project:  # type: ignore[no-untyped-def]
    import shutil

    folder = tmp_path_factory.mktemp("optuna") / "project"
    shutil.copytree(reproduced_once / "project", folder, symlinks=True)
    return Project(folder)


@pytest.mark.parametrize("argument", ERRORS)
def test_a_mistake_is_said_in_one_line(ready: Project, argument: str) -> None:
    done = ready.run(sys.executable, *OPTUNA, "seed=range(0,9)", argument, code=1)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"train: {ERRORS[argument]}")
