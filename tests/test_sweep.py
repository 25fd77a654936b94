"""Sweeps through the command line, read back from their folders and from MLflow."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from filelock import FileLock
from mlflow.entities import Run
from omegaconf import OmegaConf
from scipy import stats

from pipeline.files import sha256
from pipeline.report.intervals import wilson
from pipeline.sweeping import folders
from pipeline.trials import ranking, trial_file
from pipeline.trials.trial_file import Trial
from tests.conftest import Project, make_project
from tests.defaults import EXPERIMENT, choices
from tests.forks import Forks, forking

GRID = ("train.learning_rate=0.05,0.5", "train.batch_size=16,32")
RUNNING = "train: {}: this sweep is already running: wait for its end, or stop it\n"
SAME = "would be the same training, which"
LONG = ("sweep.together=false", "train.learning_rate=0.01,0.02,0.03,0.04", "train.epochs=1000")


def sweep(
    project: Project, *arguments: str, code: int = 0, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return project.stage("train", "-m", *arguments, code=code, **environment)


def trials(project: Project) -> list[Trial]:
    """Return the trials of the only sweep, in their order."""
    paths = (project / "multirun").glob("*/*/trial.json")
    return sorted((trial_file.read(path) for path in paths), key=lambda one: one.number)


def better(one: Trial) -> tuple[float, float, int]:
    return one.metrics["val_accuracy"], -one.metrics["val_loss"], -one.number


def runs(project: Project, kind: str) -> list[Run]:
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("ready") / "project")


@pytest.fixture(scope="module")
def run(ready: Project) -> Iterator[Forks]:
    with forking(ready) as forks:
        yield forks


def statuses(project: Project, kind: str) -> list[str]:
    return sorted(run.info.status for run in runs(project, kind))


def start(
    project: Project, *arguments: str, until: str, killed: bool = True
) -> "subprocess.Popen[str]":
    """Start a sweep; return when a line of its output matches."""
    command = (sys.executable, "-m", "pipeline.train", "-m", *arguments)
    process = project.start(*command, killed=killed)
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(until, line):
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_a_sweep_ends_in_an_answer_and_is_not_run_twice(reproduced: Project) -> None:
    done = sweep(reproduced, *GRID)
    assert "trials have ended" not in done.stdout  # which would say that some are missing
    ended = trials(reproduced)
    assert [one.name for one in ended] == [
        "learning_rate=0.05 batch_size=16",
        "learning_rate=0.05 batch_size=32",
        "learning_rate=0.5 batch_size=16",
        "learning_rate=0.5 batch_size=32",
    ]
    assert re.findall(r"^trial \d \((\d of \d)", done.stdout, re.M) == [
        f"{number} of 4" for number in (1, 2, 3, 4)
    ]
    assert len(re.findall(r"^trial \d \([123] of 4, \d\d:\d\d left\)  ", done.stdout, re.M)) == 3
    for one in ended:
        loss, accuracy = one.metrics["val_loss"], one.metrics["val_accuracy"]
        assert f"  val_loss {loss:.4g}  val_accuracy {accuracy:.4f}  " in done.stdout
        low, high = wilson(round(40 * accuracy), 40)
        measured = rf"{accuracy:.4f} +{low:.4f} +{high:.4f} +(tie +)?{loss:.4g} "
        assert re.search(rf"{one.name} +{measured}", done.stdout)
    best = max(ended, key=better)
    assert f"Best: trial {best.number}, {best.name}: val_accuracy" in done.stdout
    folder = (reproduced / ended[0].folder).parent
    table = list(csv.reader((folder / "sweep.csv").open(encoding="utf-8")))
    assert table[0] == [
        "rank",
        "trial",
        "overrides",
        "val_accuracy",
        "interval_low",
        "interval_high",
        "tie",
        "val_loss",
        "seconds",
        "status",
        "run",
    ]
    assert table[1][:3] == ["1", str(best.number), best.name]
    assert [row[-2] for row in table[1:]] == ["FINISHED"] * 4
    assert {row[-1] for row in table[1:]} == {one.run_id for one in ended}
    for one in ended:
        assert (reproduced / one.folder / "models/weights.npz").exists()
        assert (reproduced / one.folder / "metrics/history.csv").exists()
    (parent,) = runs(reproduced, "sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["best_run_id"] == best.run_id
    assert parent.data.params["sweep.overrides"] == " ".join(GRID)
    children = runs(reproduced, "trial")
    assert len(children) == 4
    for child in children:
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        assert child.data.params["train.epochs"] == "3"
        assert child.data.tags["weights_sha256"]
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    names = [item.path for item in client.list_artifacts(parent.info.run_id)]
    assert {"sweep.csv", "objective.png", "curves.png"} <= set(names)
    assert "Data and pipelines are up to date" in reproduced.run("dvc", "status").stdout
    assert reproduced.run("git", "status", "--porcelain").stdout == ""
    assert_not_run_twice(reproduced, ended, parent)


def assert_not_run_twice(reproduced: Project, ended: list[Trial], parent: Run) -> None:
    """Neither while it runs nor later, and no other sweep runs its trials again."""
    folder = Path(ended[0].folder).parent
    with FileLock(reproduced / folder / ".lock"):
        refused = sweep(reproduced, *GRID, code=1)
    assert refused.stderr == RUNNING.format(folder)

    again = sweep(reproduced, *GRID)
    assert again.stdout.count("(done before, in ") == 4
    assert len(runs(reproduced, "trial")) == 4
    assert [run.info.run_id for run in runs(reproduced, "sweep")] == [parent.info.run_id]

    larger = sweep(reproduced, "train.learning_rate=0.05,0.5,0.9")
    assert larger.stdout.count("(done before, in ") == 2
    assert len(runs(reproduced, "trial")) == 5
    note = runs(reproduced, "sweep")[0].data.tags["mlflow.note.content"]
    known = [one for one in ended if one.settings["train"]["batch_size"] == 16]  # as in params.yaml
    assert all(f"[{one.run_id}](#/runs/{one.run_id})" in note for one in known)
    assert note.count("\n- ") == 2
    assert note.count("\n\n") == 1
    assert "Reproduce it with `" in note

    sweep(reproduced, "train.learning_rate=0.05", "sweep.rerun=true")
    assert len(runs(reproduced, "trial")) == 6
    assert all("trial_run_id" not in run.data.tags for run in runs(reproduced, "trial"))


def test_trials_leak_nothing_into_each_other(reproduced: Project) -> None:
    sweep(reproduced, "train.learning_rate=0.1,0.7")
    sweep(reproduced, "train.learning_rate=0.7,0.1", "sweep.rerun=true")
    hashes: dict[float, set[str]] = {}
    for one in trials(reproduced):
        rate, weights = one.settings["train"]["learning_rate"], one.folder + "/models/weights.npz"
        hashes.setdefault(rate, set()).add(sha256(reproduced / weights))
    assert [len(found) for found in hashes.values()] == [1, 1]
    assert len(set.union(*hashes.values())) == 2
    assert hashes[0.1] == {sha256(reproduced / "models/weights.npz")}  # by `dvc repro`


def test_a_failed_trial_is_contained(reproduced: Project) -> None:
    done = sweep(reproduced, "train.learning_rate=1e38,-1,0.1", code=1)
    nan, bad, good = trials(reproduced)
    assert [one.status for one in (nan, bad, good)] == ["FAILED", "FAILED", "FINISHED"]
    assert "diverged" in nan.error
    least = "should be greater than or equal to 1e-30, not -1"
    wrong = f"train.learning_rate=-1 on the command line {least}"
    assert bad.error == wrong
    assert f"train: trial 1 (learning_rate=-1) FAILED: {wrong}" in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    for one in (nan, bad):
        assert "Traceback" in (reproduced / one.folder / "error.txt").read_text(encoding="utf-8")
        (run,) = [run for run in runs(reproduced, "trial") if run.info.run_id == one.run_id]
        assert (run.info.status, run.data.tags["error"]) == ("FAILED", one.error)
    assert statuses(reproduced, "trial") == ["FAILED", "FAILED", "FINISHED"]
    assert statuses(reproduced, "sweep") == ["FAILED"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model=mlp,mpl"], f"model: there is no 'mpl'; choose one of {choices('model')}"),
        (
            ["train.lerning_rate=0.1,0.2"],
            "train.lerning_rate is not known; did you mean train.learning_rate?",
        ),
        (["model=mlp,logistic_regression", "model.hidden=[3],[4]"], "model.hidden is not known"),
        (
            ["train.learning_rate=-1,0", "seed=0,1"],
            "train.learning_rate=-1 on the command line should be",
        ),
        (["hydra/sweeper=optuna", "train.lerning_rate=interval(0,1)"], "train.lerning_rate is not"),
        (["hydra/sweeper=optuna", "model=mlp,mpl"], "model: there is no 'mpl'; choose one of"),
        (
            ["hydra/sweeper=optuna", "seed=0,1", "train.epochs=0"],
            "train.epochs=0 on the command line",
        ),
        (["storage=float32,uint8"], f"storage=float32 and storage=uint8 {SAME}"),
        (["tracking.timeout=3,4", "seed=0,1"], f"tracking.timeout=3 and tracking.timeout=4 {SAME}"),
        (["determinism=off,machine,false"], f"determinism=off and determinism=False {SAME}"),
        (["train.learning_rate=0.1,0.1"], "train.learning_rate=0.1 is given twice: leave one out"),
        (["seed=1,2", "train.learning_rate=0.1,1,1e-1"], "train.learning_rate=0.1 is given twice"),
        (["train.learning_rate=1,1.0"], "train.learning_rate=1.0 is given twice: leave one out"),
        (["seed=1,1,2", "hydra/launcher=joblib"], "seed=1 is given twice: leave one out"),
        (["model=mlp,mlp"], "model=mlp is given twice: leave one out"),
        (["model=choice(mlp,mlp)", "model.hidden=[3],[4]"], "model=mlp is given twice"),
        (["model=mlp", "model.hidden=[3],[4],[3]"], "model.hidden=[3] is given twice"),
        (["+experiment=grid", "seed=1,1"], "seed=1 is given twice: leave one out"),
        (["hydra/sweeper=optuna", "seed=1,1,2"], "seed=1 is given twice: leave one out"),
        (
            ["seed=2,3", "seed=1"],
            "seed is given twice, as seed=2,3 and as seed=1: leave one out",
        ),
        (["hydra/sweeper=optuna", "seed=2", "seed=2,3"], "seed is given twice, as seed=2 and as"),
        (["seed=2,3", "++seed=1"], f"seed=2 and seed=3 {SAME}"),
        (
            ["hydra/sweeper=optuna", "download.read_timeout=interval(1,2)"],
            f"download.read_timeout=1.0 and download.read_timeout=1.5 {SAME}",
        ),
        (
            ["dataset=digits,breast_cancer"],
            "dataset: a sweep is of the data that `dvc repro` has made: run `dvc exp run -S "
            "dataset=...` for each",
        ),
        (
            ["+experiment=cnn,seeds"],
            "+experiment=seeds is a sweep itself: run it alone, as "
            "`python -m pipeline.train +experiment=seeds`",
        ),
        (
            ["seed=0,1", "paths.models=weights"],
            "paths.models=weights: each trial of a sweep writes into its own folder: leave it out",
        ),
        (["seed=0,1", "hydra.job.chdir=true"], "hydra.job.chdir=true is not supported: leave it"),
        (["seed=0,1"], "data/processed/x_train.npy: not found: run `dvc repro preprocess`, which"),
        (
            ["hydra/sweeper=optuna", "seed=0,1"],
            "data/processed/x_train.npy: not found: run `dvc repro preprocess`, which",
        ),
    ],
)
def test_a_sweep_of_mistakes_is_refused_before_it_begins(
    run: Forks, ready: Project, arguments: list[str], line: str
) -> None:
    done = run("-m", *arguments)
    assert (done.code, done.said.count("\n")) == (1, 1)
    assert done.said.startswith(f"train: {line}")
    assert not (ready / "multirun").exists()
    assert not (ready / "optuna.db").exists()


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(reproduced: Project) -> None:
    process = start(reproduced, *LONG, until="^trial 1 .*FINISHED")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    done = [one for one in trials(reproduced) if one.status == "FINISHED"]
    assert len(done) >= 2
    again = sweep(reproduced, *LONG)
    assert again.stdout.count("(done before, in ") == len(done)
    assert [one.status for one in trials(reproduced)] == ["FINISHED"] * 4
    found = statuses(reproduced, "trial")
    assert found.count("FINISHED") == 4
    assert set(found) <= {"FINISHED", "KILLED"}
    assert statuses(reproduced, "sweep") == ["FINISHED"]


@pytest.mark.slow
def test_an_interrupted_sweep_ends_at_once(reproduced: Project) -> None:
    arguments = ("sweep.together=false", "train.epochs=10,99999")
    process = start(reproduced, *arguments, until="^trial 0 .*FINISHED")
    while len(trials(reproduced)) < 2:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert [one.status for one in trials(reproduced)] == ["FINISHED", "KILLED"]
    assert "FINISHED" in output
    assert "train: trial 1 (epochs=99999) KILLED: interrupted" in errors
    assert "train: interrupted: the same command goes on where it was" in errors
    assert "Traceback" not in errors
    assert statuses(reproduced, "trial") == ["FINISHED", "KILLED"]
    assert statuses(reproduced, "sweep") == ["KILLED"]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.5])
def test_a_second_interruption_cuts_off_the_answer(reproduced: Project, seconds: float) -> None:
    process = start(reproduced, *LONG, until="^trial 0 .*FINISHED")
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(seconds)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "train: interrupted: the same command goes on where it was" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_killed_worker_takes_only_its_own_trial(reproduced: Project) -> None:
    arguments = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "train.epochs=20,99999,21,22")
    process = start(reproduced, *arguments, until="^trial 0 .*FINISHED")
    while not (pids := [one.pid for one in trials(reproduced) if one.number == 1]):
        time.sleep(0.05)  # the other worker is still being started
    os.kill(pids[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert [one.status for one in trials(reproduced)] == [
        "FINISHED",
        "KILLED",
        "FINISHED",
        "FINISHED",
    ]
    assert errors == "train: trial 1 (epochs=99999) KILLED: its process was killed\n"
    assert statuses(reproduced, "trial") == ["FINISHED", "FINISHED", "FINISHED", "KILLED"]
    assert statuses(reproduced, "sweep") == ["FAILED"]
    again = sweep(reproduced, "hydra/launcher=joblib", "train.epochs=20,21,23")
    assert again.stdout.count("(done before, in ") == 2


def test_a_worker_that_is_killed_before_it_has_written_anything(reproduced: Project) -> None:
    reproduced.edit(
        "pipeline/sweeping/trial.py",
        "    hydra = HydraConfig.get()\n",
        "    hydra = HydraConfig.get()\n    hydra.job.num == 1 and os.kill(os.getpid(), 9)\n",
    )
    done = sweep(reproduced, "hydra/launcher=joblib", "train.epochs=1,2,3", code=1)
    assert done.stderr == "train: trial 1 (epochs=2) KILLED: its process was killed\n"
    unfinished = "2 of 3 trials have ended: the command of the sweep runs the others."
    assert f"\n{unfinished}\n" in done.stdout
    assert f": {unfinished}\n" in reproduced.stage("promote").stdout
    assert [one.status for one in trials(reproduced)] == ["FINISHED", "KILLED", "FINISHED"]


@pytest.mark.slow
def test_two_sweeps_at_once_on_a_new_store(reproduced: Project) -> None:
    for path in reproduced.folder.glob("mlflow.db*"):
        path.unlink()
    command = (sys.executable, "-m", "pipeline.train", "-m", "seed=3,4")
    other = reproduced.start(*command, killed=False)
    first = start(reproduced, "seed=1,2", until="Launching")
    first.send_signal(signal.SIGSTOP)  # else it may have ended
    refused = sweep(reproduced, "seed=1,2", code=1)
    first.send_signal(signal.SIGCONT)
    assert re.fullmatch(RUNNING.format(r"multirun/seed-\w{8}"), refused.stderr)
    for process in (first, other):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert statuses(reproduced, "trial") == ["FINISHED"] * 4
    assert statuses(reproduced, "sweep") == ["FINISHED"] * 2


@pytest.mark.slow
def test_every_preset_runs(reproduced: Project) -> None:
    (reproduced / "conf/experiment/other.yaml").write_text(
        "# @package _global_\nseed: 5\n", encoding="utf-8"
    )
    given = ("train.epochs=1", "dataset=tiny")
    alone = ("tutorial", "cnn", "other")
    sweep(reproduced, f"+experiment={','.join(alone)}", *given, COLD="1")
    names = [f"experiment={name}" for name in alone]
    assert [one.name for one in trials(reproduced)] == names
    assert sorted(run.info.run_name for run in runs(reproduced, "trial")) == sorted(names)
    counts = {"grid": 9, "models": 4, "seeds": 10}
    presets = {path.stem for path in (reproduced / "conf/experiment").glob("*.yaml")}
    assert presets == {*counts, *alone}
    for name, count in counts.items():
        done = reproduced.stage("train", f"+experiment={name}", *given)
        assert f"({count} of {count})" in done.stdout
    assert {one.status for one in trials(reproduced)} == {"FINISHED"}


def test_a_key_of_another_stage_is_not_swept(project: Project) -> None:
    project.edit("conf/config.yaml", "storage: float32", "components: 10\nstorage: float32")
    project.edit(
        "pipeline/settings/schema.py", "    storage: L", "    components: int\n    storage: L"
    )
    done = sweep(project, "components=10,50", code=1)
    assert done.stderr == (
        "train: components=10 and components=50 would be the same training, which determinism, "
        "model, optimizer, seed, train decide: leave one out\n"
    )
    assert not (project / "multirun").exists()


def test_seeds_end_in_a_mean_and_its_interval(reproduced: Project) -> None:
    done = reproduced.stage("train", "+experiment=seeds", "hydra.sweeper.params.seed='range(0,3)'")
    values = [one.metrics["val_accuracy"] for one in trials(reproduced)]
    assert len(values) == 3
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (
        f"3 seeds: val_accuracy {np.mean(values):.4f}, standard deviation "
        f"{np.std(values, ddof=1):.4f}, 95 % interval of the mean {low:.4f} to {high:.4f}"
    ) in done.stdout
    assert "None is best: the trials differ in the seed alone" in done.stdout
    assert "promote" not in done.stdout
    (table,) = (reproduced / "multirun").glob("*/seeds.csv")
    (row,) = csv.DictReader(table.open(encoding="utf-8"))
    (parent,) = runs(reproduced, "sweep")
    assert "best_trial" not in parent.data.tags
    assert parent.data.tags["mlflow.note.content"].startswith("Result: 3 seeds: val_accuracy ")
    sample = {
        "mean": np.mean(values),
        "deviation": np.std(values, ddof=1),
        "interval_low": low,
        "interval_high": high,
    }
    for name, value in sample.items():
        written = row.get(name) or row[f"val_accuracy_{name}"]
        assert float(written) == pytest.approx(value, rel=1e-12)
        assert parent.data.metrics[f"val_accuracy_{name}"] == pytest.approx(value, rel=1e-12)
    before = (reproduced / "params.yaml").read_bytes()
    refused = reproduced.stage("promote", code=1)
    assert refused.stderr == (
        f"promote: {table.parent.relative_to(reproduced.folder)}: nothing to promote: the trials "
        "differ in the seed alone, and a better seed is luck, not a setting\n"
    )
    assert (reproduced / "params.yaml").read_bytes() == before


def test_only_training_is_swept(reproduced: Project) -> None:
    done = reproduced.stage("evaluate", "-m", "seed=0,1", code=1)
    assert done.stderr == (
        "evaluate: sweeps are of the train stage: `python -m pipeline.train -m ...`\n"
    )


@pytest.mark.parametrize(("direction", "first"), [("maximize", 2), ("minimize", 1)])
def test_ranks(direction: str, first: int) -> None:
    found = [
        Trial(0, [], "", "FAILED"),
        Trial(1, [], "", "FINISHED", metrics={"val_loss": 0.1}),
        Trial(2, [], "", "FINISHED", metrics={"val_loss": 0.2}),
        Trial(3, [], "", "FINISHED", metrics={"val_loss": 0.1}),
    ]
    ranked = [one.number for one in ranking.answer(found, "val_loss", direction).trials]
    assert ranked[0] == first
    assert ranked[-1] == 0
    assert ranked.index(1) < ranked.index(3)  # equal ones in their order


def test_of_equal_trials_the_lower_loss_is_the_better() -> None:
    losses = [0.3, 0.2, 0.2]
    found = [
        Trial(number, [], "", "FINISHED", metrics={"val_accuracy": 0.9, "val_loss": loss})
        for number, loss in enumerate(losses)
    ]
    assert [one.number for one in ranking.answer(found, "val_accuracy", "maximize").trials] == [
        1,
        2,
        0,
    ]


def test_the_folder_is_of_the_command_settings_data_and_code(
    reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(*arguments: str, processed: str = "data/processed") -> str:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        return folders.of_command(OmegaConf.create({"paths": {"processed": processed}}))

    monkeypatch.chdir(reproduced.folder)
    monkeypatch.setattr(folders, "CONF", reproduced / "conf")
    monkeypatch.setattr(folders, "code", lambda: ["the code"])

    first = folder("-m", *GRID)
    assert Path(first).name.startswith("learning_rate,batch_size-")
    assert folder("-m", *GRID[::-1]).rpartition("-")[2] == first.rpartition("-")[2]
    assert folder("--multirun", *GRID, "hydra/launcher=joblib", "sweep.rerun=true") == first
    assert folder("-m", *GRID, "seed=1") != first
    assert folder("-m", *GRID, processed="elsewhere") != first
    monkeypatch.setattr(folders, "code", lambda: ["other code"])
    assert folder("-m", *GRID) != first
    monkeypatch.setattr(folders, "code", lambda: ["the code"])
    assert folder("-m", *GRID) == first
    reproduced.edit("params.yaml", "epochs: 3", "epochs: 4")
    assert folder("-m", *GRID) != first
