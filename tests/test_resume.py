"""A training that was killed goes on: the same bits, the same history, one MLflow run."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from mlflow.entities import Run

from pipeline.files import sha256
from pipeline.learning import checkpoint, determinism, history, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.optimizers import adam, sgd
from pipeline.settings import inputs
from pipeline.settings.check import check
from pipeline.settings.schema import Config
from pipeline.trials import trial_file

determinism.enable(seed=0)

from pipeline.learning.training import train  # noqa: E402
from pipeline.models import MLP, LogisticRegression  # noqa: E402
from tests.conftest import Project  # noqa: E402
from tests.defaults import EXPERIMENT  # noqa: E402

FEATURES, CLASSES, EPOCHS = 12, 4, 6
MODELS = {
    "logistic_regression": lambda: LogisticRegression((FEATURES,), CLASSES, 0),
    "mlp": lambda: MLP((FEATURES,), CLASSES, 5, hidden=[8]),
}
OPTIMIZERS = {"momentum": lambda: sgd(0.1, momentum=0.9), "adam": lambda: adam(0.01)}
LONG = 600  # epochs: seconds of training, which can be killed in their middle


def composed(project: Project, *overrides: str) -> Config:
    """Return the configuration of the project, which must be the current folder."""
    with initialize_config_dir(str(project / "conf"), version_base="1.3"):
        return check(compose("config", ["paths.output=.", *overrides]))


def checkpoints(project: Project) -> list[str]:
    return sorted(path.name for path in (project / "checkpoints").glob("*"))


def runs(project: Project, kind: str) -> list[Run]:
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'")


def assert_whole(project: Project, run: Run, folder: str = ".") -> None:
    """The run is FINISHED and has each epoch of the history once."""
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    rows = history.read(project / folder / "metrics/history.csv")
    assert len(rows) == LONG
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        logged = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in logged] == list(range(1, LONG + 1))
        written = [row.metrics[name] for row in rows]
        np.testing.assert_allclose([point.value for point in logged], written, rtol=1e-8)
    assert len(run.inputs.dataset_inputs) == 1
    assert len(run.outputs.model_outputs) == 1


def start(project: Project, *command: str) -> "subprocess.Popen[str]":
    """Start a command; return when its training has kept an epoch, most of which are to come."""
    process = project.start(*command, stdout=subprocess.DEVNULL)
    while not list((project / "checkpoints").glob("*.npz")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    return process


def kill_all(process: "subprocess.Popen[str]") -> None:
    """Kill a command and all that it has started, and wait until none of it holds a lock."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # the last that could write there has ended


@pytest.fixture(scope="module")
def uninterrupted(reproduced_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has trained for long; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "project"
    shutil.copytree(reproduced_once / "project", folder, symlinks=True)
    project = Project(folder)
    project.edit("params.yaml", "epochs: 3", f"epochs: {LONG}")
    project.commit()
    project.run("dvc", "repro", "train")
    assert checkpoints(project) == []
    return project


@pytest.fixture
def long(uninterrupted: Project, reproduced: Project) -> Project:
    """The same project before it has trained for long."""
    shutil.copy(uninterrupted / "params.yaml", reproduced / "params.yaml")
    reproduced.commit()
    return reproduced


def test_a_killed_training_goes_on(long: Project, uninterrupted: Project) -> None:
    kill_and_go_on(long, uninterrupted, "the stage")


def kill_and_go_on(long: Project, uninterrupted: Project, how: str) -> None:
    lost = how == "the store too"  # which this process must not have opened then
    before = set() if lost else {run.info.run_id for run in runs(long, "training")}
    begun = how == "the stage"  # whose recorder lives on
    if how == "everything":  # DVC and the recorder too
        kill_all(start(long, "dvc", "repro", "train"))
        begun = len(runs(long, "training")) > len(before)  # or MLflow was still being imported
    else:
        process = start(long, sys.executable, "-m", "pipeline.train")
        process.send_signal(signal.SIGTERM if lost else signal.SIGKILL)
        assert process.wait(120) != 0
    while begun and len(runs(long, "training")) == len(before):
        time.sleep(0.05)  # the recorder that lives on is to begin the run, not the next one
    if lost:
        long.run("rm", "-rf", "mlflow.db", "mlruns")
    done = long.run("dvc", "repro", "train")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("going on")]
    name = re.fullmatch(rf"going on from epoch \d+ of {LONG} \((checkpoints/\w+\.npz)\)", line)
    assert name, line
    assert (long / "dvc.lock").read_text(encoding="utf-8") == (
        uninterrupted / "dvc.lock"
    ).read_text(encoding="utf-8")
    (run,) = [run for run in runs(long, "training") if run.info.run_id not in before]
    assert_whole(long, run)
    assert ("resumed" in run.data.tags) == begun
    assert checkpoints(long) == []


def test_a_training_goes_on_after_its_last_epoch(reproduced: Project) -> None:
    weights = reproduced / "models/weights.npz"
    weights.unlink()
    (weights / "in the way").mkdir(parents=True)
    root = str(reproduced.folder)
    done = reproduced.stage("train", "train.epochs=1", code=1, DVC_EXP_NAME="one", DVC_ROOT=root)
    assert done.stderr == "train: models/weights.npz: cannot be written: Is a directory\n"
    (weights / "in the way").rmdir()
    weights.rmdir()
    (failed,) = runs(reproduced, "training")
    assert failed.info.run_name.startswith("one lr=")
    said = reproduced.stage("train", "train.epochs=1", DVC_EXP_NAME="other", DVC_ROOT=root).stdout
    (run,) = runs(reproduced, "training")  # the same, of another experiment
    assert run.info.run_id == failed.info.run_id
    assert run.info.run_name.startswith("other lr=")
    assert run.data.tags["dvc_experiment"] == "other"
    assert "epoch 1 of 1 is trained already (checkpoints/" in said
    assert "earlier trial" not in said


@pytest.mark.slow
def test_a_killed_sweep_goes_on_within_its_trial(long: Project, uninterrupted: Project) -> None:
    kill_a_sweep_and_go_on(long, uninterrupted, "basic")


def kill_a_sweep_and_go_on(long: Project, uninterrupted: Project, sweeper: str) -> None:
    space = {
        "basic": ["train.learning_rate=0.1"],
        "optuna": ["train.learning_rate=choice(0.1)", "hydra.sweeper.n_trials=1"],
    }
    command = ["-m", "pipeline.train", "-m", f"hydra/sweeper={sweeper}", *space[sweeper]]
    kill_all(start(long, sys.executable, *command))
    done = long.run(sys.executable, *command)
    assert done.stdout.count("going on from epoch") == 1
    (run,) = runs(long, "trial")
    ended = [trial_file.read(path) for path in (long / "multirun").glob("*-*/*/trial.json")]
    (one,) = [one for one in ended if one.status == "FINISHED"]
    assert (one.run_id, one.folder) == (run.info.run_id, run.data.tags["pipeline.place"])
    assert_whole(long, run, one.folder)
    assert sha256(long / one.folder / "models/weights.npz") == sha256(
        uninterrupted / "models/weights.npz"
    )
    assert [run.info.status for run in runs(long, "sweep")] == ["FINISHED"]
    assert [name for name in checkpoints(long) if name.endswith(".npz")] == []


def test_a_training_that_diverges_keeps_no_checkpoint(reproduced: Project) -> None:
    arguments = ("train.learning_rate=1e6", "train.batch_size=null", "train.epochs=200")
    done = reproduced.stage("train", *arguments, code=1)
    assert "training has diverged" in done.stderr
    assert "epoch   1/200" in done.stdout
    assert checkpoints(reproduced) == []


class Training:
    """A training of new objects, with a checkpoint of the project in the current folder."""

    def __init__(self, config: Config, *, names: tuple[str, str], **options: Any):
        generator = np.random.default_rng(1)
        np.save("x.npy", generator.random((300, FEATURES), np.float32))
        x = np.load("x.npy", mmap_mode="c")
        y = generator.integers(0, CLASSES, 300).astype(np.uint8)
        self.model, optimizer = MODELS[names[0]](), OPTIMIZERS[names[1]]()
        self.saved = Checkpoint(config, Path())
        self.epochs = self.saved.restore(self.model, optimizer)
        self.rest = train(
            self.model,
            optimizer,
            (x[:250], y[:250]),
            (x[250:], y[250:]),
            epochs=EPOCHS,
            start=len(self.epochs) + 1,
            seed=3,
            **options,
        )

    def go_on(self, epochs: int) -> None:
        """Train for so many epochs."""
        for epoch in islice(self.rest, epochs):
            self.epochs.append(epoch)
            self.saved.keep(self.epochs)

    def result(self, folder: Path) -> list[bytes]:
        """Return the bytes of what is written in the end."""
        weights.save(self.model, folder / "weights.npz")
        history.write(folder / "history.csv", self.epochs)
        return [(folder / name).read_bytes() for name in ("weights.npz", "history.csv")]


@pytest.fixture
def config(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The project's configuration in its folder; checkpoints are written after every epoch."""
    monkeypatch.chdir(reproduced.folder)
    monkeypatch.setattr(checkpoint, "MOST_TIME", math.inf)
    return composed(reproduced)


CASES = [  # each value of each choice
    (("logistic_regression", "adam"), 32, False, 5),
    (("mlp", "momentum"), None, True, 2),
    (("mlp", "adam"), 32, True, 6),
]
MORE = [
    (("logistic_regression", "momentum"), 32, True, 1),
    (("logistic_regression", "adam"), None, True, 4),
    (("mlp", "momentum"), 32, False, 3),
]
MORE_CASES = [pytest.param(case, marks=pytest.mark.slow) for case in MORE]


@pytest.mark.parametrize("case", [*CASES, *MORE_CASES], ids=str)
def test_what_goes_on_ends_in_the_same_bits(
    config: Config, tmp_path: Path, case: tuple[tuple[str, str], int | None, bool, int]
) -> None:
    names, batch_size, resident, after = case
    options: dict[str, Any] = {"names": names, "batch_size": batch_size, "resident": resident}
    whole = Training(config, **options)
    whole.go_on(EPOCHS)
    expected = whole.result(tmp_path)
    whole.saved.remove()

    Training(config, **options).go_on(after)
    again = Training(config, **options)
    assert again.epochs == whole.epochs[:after]
    assert again.saved.run["training"] != whole.saved.run["training"]
    again.go_on(EPOCHS)
    assert again.result(tmp_path) == expected


DEFAULT = {"names": ("mlp", "adam"), "batch_size": 32}


def damage(name: str, path: Path) -> None:
    """Do to a file what its name says."""
    content = bytearray(path.read_bytes())
    if name == "truncated":
        content = content[:-100]
    elif name == "empty":
        content.clear()
    elif name == "a flipped bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_ignored(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    first = Training(config, **DEFAULT)
    first.go_on(2)
    whole = first.saved.path.read_bytes()
    for name in ("truncated", "empty", "a flipped bit"):
        first.saved.path.write_bytes(whole)
        damage(name, first.saved.path)
        caplog.clear()
        again = Training(config, **DEFAULT)
        assert again.epochs == []
        assert caplog.messages == [
            f"{first.saved.path} is ignored: its checksum is wrong; training starts anew"
        ]
        assert again.saved.run["training"] != first.saved.run["training"]
    again.go_on(1)
    assert len(Training(config, **DEFAULT).epochs) == 1


@pytest.mark.parametrize("change", ["settings", "data", "code", "lock"])
def test_a_foreign_checkpoint_is_ignored(
    config: Config, reproduced: Project, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    first = Training(config, **DEFAULT)
    first.go_on(2)
    path = first.saved.path
    if change == "settings":
        config = composed(reproduced, "seed=1")
        path = Checkpoint(config, Path()).path
        first.saved.path.rename(path)
    elif change == "data":
        array = np.load("data/processed/x_train.npy")
        array[0, 0] += 1
        Path("data/processed/x_train.npy").unlink()
        np.save("data/processed/x_train.npy", array)
    else:
        name, old = {"code": ("models", "The models"), "lock": ("", "# This")}[change]
        reproduced.edit(f"pipeline/{name}.py" if name else "requirements.txt", old, f"{old} ")
        inputs._code.cache_clear()  # as another process, which imports what is there now
    assert Training(config, **DEFAULT).epochs == []
    assert caplog.messages == [
        f"{path} is ignored: it is of other settings, data, code or versions; training starts anew"
    ]


def test_checkpoints_are_few(config: Config) -> None:
    folder = Path("checkpoints")
    folder.mkdir(exist_ok=True)
    for number in range(checkpoint.MOST_FILES + 10):
        (folder / f"{number}.npz").touch()
        os.utime(folder / f"{number}.npz", (number, number))
    kept = Training(config, **DEFAULT)
    kept.go_on(1)
    left = {path.name for path in folder.iterdir()}
    assert len(left) == checkpoint.MOST_FILES + 1
    assert {kept.saved.path.name, "10.npz"} < left
    assert "9.npz" not in left
    kept.saved.remove()
    assert not kept.saved.path.exists()


def test_a_checkpoint_that_another_training_removes_meanwhile_costs_none(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other, is_file = Path("checkpoints/other.npz"), Path.is_file
    other.parent.mkdir(exist_ok=True)
    other.touch()

    def last_seen(path: Path) -> bool:
        found = is_file(path)
        if path == other:
            other.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", last_seen)
    training = Training(config, **DEFAULT)
    training.go_on(1)
    assert training.saved.path.exists()
    assert caplog.messages == []


def test_a_folder_that_cannot_be_written_does_not_end_the_training(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    Path("checkpoints").rmdir()
    Path("checkpoints").write_text("a file", encoding="utf-8")
    training = Training(config, **DEFAULT)
    training.go_on(EPOCHS)
    assert len(training.epochs) == EPOCHS
    *_, line = caplog.messages
    assert line.startswith("Training goes on without a checkpoint: checkpoints/")
