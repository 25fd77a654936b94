"""Trials that differ in the learning rate alone: trained together, with the bits of each alone."""

import functools
import re
import shutil
from itertools import product
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml

from pipeline.files import sha256
from pipeline.learning import determinism
from pipeline.optimizers import EXACT, adam, sgd
from pipeline.trials import trial_file
from pipeline.trials.trial_file import Trial
from tests.conftest import Project, make_project

determinism.enable(seed=0)

from pipeline.learning.training import train  # noqa: E402
from pipeline.models import LogisticRegression  # noqa: E402
from pipeline.side_by_side.model import SideBySide  # noqa: E402
from pipeline.side_by_side.training import _epoch_of_each  # noqa: E402

FEATURES, CLASSES = 63, 10
RATES = (0.02, 0.1, 0.7)
OPTIMIZERS = {
    "sgd": sgd,
    "nesterov": lambda rate: sgd(rate, momentum=0.9, nesterov=True),
    "adam": adam,
}
FILES = ("models/weights.npz", "metrics/history.csv")


BATCHES = [32, None, 200]
QUICK = [*zip(OPTIMIZERS, BATCHES, strict=True)]  # each once; the other pairs are slow
PAIRS = [
    pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow)
    for pair in product(OPTIMIZERS, BATCHES)
]


@pytest.mark.parametrize(("name", "batch_size"), PAIRS)
def test_side_by_side_each_has_the_bits_that_it_has_alone(
    name: str, batch_size: int | None
) -> None:
    generator = np.random.default_rng(1)
    x = generator.random((1111, FEATURES), np.float32)
    y = generator.integers(0, CLASSES, len(x)).astype(np.uint8)
    options = {"epochs": 3, "batch_size": batch_size, "seed": 0}
    split = (x[:900], y[:900]), (x[900:], y[900:])

    def initial() -> LogisticRegression:
        return LogisticRegression((FEATURES,), CLASSES, 0, l2=0.01)

    wide = SideBySide([initial() for _ in RATES])
    columns = np.repeat(np.array(RATES, np.float32), CLASSES)
    optimizer = OPTIMIZERS[name](lambda: columns)  # type: ignore[operator]
    epochs = train(wide, optimizer, *split, **options)  # type: ignore[arg-type]
    histories = zip(*map(_epoch_of_each, epochs), strict=True)
    for head, (rate, history) in enumerate(zip(RATES, histories, strict=True)):
        model = initial()
        alone = list(train(model, OPTIMIZERS[name](rate), *split, **options))  # type: ignore[operator]
        assert list(history) == alone
        for one, several in zip(model.weights.values(), wide.weights.values(), strict=True):
            columns = several.numpy()[..., head * CLASSES : (head + 1) * CLASSES]
            assert one.numpy().tobytes() == columns.tobytes()


@pytest.fixture(scope="module")
def ten_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("ten") / "project", classes=CLASSES)
    path = project / "conf/dataset/tiny.yaml"
    conf = yaml.safe_load(path.read_text(encoding="utf-8"))
    conf["classes"] = [f"class {number}" for number in range(CLASSES)]
    path.write_text(yaml.safe_dump(conf), encoding="utf-8")
    project.repro("preprocess")
    return project


@pytest.fixture
def ten(ten_once: Project, tmp_path: Path) -> Project:
    """A project with ten classes, ready to train."""
    shutil.copytree(ten_once.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def trials(project: Project) -> list[Trial]:
    paths = (project / "multirun").glob("*/*/trial.json")
    return sorted((trial_file.read(path) for path in paths), key=lambda one: one.number)


def bits(project: Project, one: Trial) -> list[str]:
    return [sha256(project / one.folder / name) for name in FILES]


@pytest.mark.slow
def test_a_grid_is_trained_in_groups(ten: Project) -> None:
    grid = ("-m", "train.learning_rate=0.1,0.2,0.4", "seed=0,1")
    done = ten.stage("train", *grid)
    assert done.stdout.count("trained together: learning rates 0.1, 0.2, 0.4\n") == 2
    assert done.stdout.count("epoch 3 of 3 is trained already") == 4
    ended = trials(ten)
    assert [one.status for one in ended] == ["FINISHED"] * 6
    assert all(one.seconds and 0 < one.seconds < 60 for one in ended)
    assert list((ten / "checkpoints").glob("*.npz")) == []
    client = mlflow.MlflowClient(f"sqlite:///{ten / 'mlflow.db'}")
    for one in ended:
        assert client.get_run(one.run_id).info.status == "FINISHED"
        steps = [point.step for point in client.get_metric_history(one.run_id, "val_loss")]
        assert steps == [1, 2, 3]

    found = {one.name: bits(ten, one) for one in ended}
    assert len({weights for weights, _ in found.values()}) == 6

    larger = ten.stage("train", "-m", "train.learning_rate=0.1,0.2,0.3,0.5")
    assert larger.stdout.count("done before") == 2
    assert larger.stdout.count("trained together: learning rates 0.3, 0.5\n") == 1

    shutil.rmtree(ten / "multirun")
    some = ("train.learning_rate=0.1,0.4", "seed=1,0")
    again = ten.stage("train", "-m", *some, "sweep.together=false")
    assert "trained together" not in again.stdout
    assert {one.name: bits(ten, one) for one in trials(ten)}.items() <= found.items()
    assert not {one.run_id for one in trials(ten)} & {one.run_id for one in ended}


def test_one_that_diverges_takes_no_other_with_it(ten: Project) -> None:
    done = ten.stage("train", "-m", "train.learning_rate=1e38,0.1,2e38,1e-40,0.2", code=1)
    failed, first, wide, bad, last = trials(ten)
    assert [one.status for one in (failed, wide, bad)] == ["FAILED"] * 3
    assert "diverged" in failed.error
    assert "diverged" in wide.error
    assert "should be greater than or equal to 1e-30" in bad.error
    assert re.findall("trained together: learning rates (.*)", done.stdout) == [
        "1e+38, 0.1, 2e+38, 0.2",
        "0.1, 2e+38, 0.2",
    ]
    found = [bits(ten, one) for one in (first, last)]
    shutil.rmtree(ten / "multirun")
    ten.stage("train", "-m", "train.learning_rate=0.1,0.2", "sweep.together=false")
    assert [bits(ten, one) for one in trials(ten)] == found


OWN = """

import functools


def clipped(learning_rate: float) -> "keras.optimizers.Optimizer":
    import keras

    return keras.optimizers.SGD(learning_rate, global_clipnorm=0.1)


def decaying(learning_rate: float) -> "keras.optimizers.Optimizer":
    import keras

    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(learning_rate, 5, 0.5))


@functools.wraps(sgd)
def wrapped(*arguments: Any, **options: Any) -> "keras.optimizers.Optimizer":
    made = sgd(*arguments, **options)
    made.global_clipnorm = 0.1
    return made


for one in (clipped, decaying):
    OPTIMIZERS[one.__name__] = one
OPTIMIZERS["wrapped"] = wrapped
"""


@pytest.mark.slow
def test_an_own_optimizer_trains_each_alone(ten: Project) -> None:
    with (ten / "pipeline/optimizers.py").open("a", encoding="utf-8") as file:
        file.write(OWN)
    own = ("clipped", "decaying", "wrapped")
    for name in own:
        (ten / f"conf/optimizer/{name}.yaml").write_text(f"name: {name}\n", encoding="utf-8")
    chosen = f"optimizer={','.join(own)}"
    done = ten.stage("train", "-m", "train.learning_rate=0.05,0.1", chosen, COLD="1")
    assert "trained together" not in done.stdout
    ended = trials(ten)
    assert [one.status for one in ended] == ["FINISHED"] * 6
    ten.stage("train", "train.learning_rate=0.1", "optimizer=clipped", COLD="1")
    alone = [sha256(ten / name) for name in FILES]
    (clipped,) = [one for one in ended if one.name == "learning_rate=0.1 optimizer=clipped"]
    assert bits(ten, clipped) == alone


@pytest.mark.slow
def test_a_shipped_optimizer_that_was_edited_is_no_longer_exact(ten: Project) -> None:
    path = ten / "pipeline/optimizers.py"
    code = path.read_text(encoding="utf-8")
    given = "momentum=momentum, nesterov=nesterov"
    assert code.count(f"SGD(learning_rate, {given})") == 1
    decay = "__import__('keras').optimizers.schedules.ExponentialDecay(learning_rate, 5, 0.5)"
    rates = ("-m", "train.learning_rate=0.05,0.1")
    for edited in (f"learning_rate, {given}, global_clipnorm=0.1", f"{decay}, {given}"):
        own = code.replace(f"learning_rate, {given}", edited)
        path.write_text(own, encoding="utf-8")
        (line,) = ten.stage("train", code=1).stderr.splitlines()
        assert line.startswith("train: optimizer: 'sgd' is in EXACT of pipeline/optimizers.py, but")
        undeclared = own.replace("EXACT = {sgd, adam}", "EXACT = {adam}")
        path.write_text(undeclared, encoding="utf-8")
        done = ten.stage("train", *rates, COLD="1")
        assert "trained together" not in done.stdout
        ten.stage("train", "train.learning_rate=0.1", COLD="1")
        (trial,) = [one for one in trials(ten) if one.name == "learning_rate=0.1"]
        assert trial.status == "FINISHED"
        assert bits(ten, trial) == [sha256(ten / name) for name in FILES]
        shutil.rmtree(ten / "multirun")


def test_only_what_declares_it_is_trained_side_by_side() -> None:
    assert {sgd, adam} <= EXACT  # and what lies in own/
    assert functools.wraps(sgd)(functools.partial(sgd)) not in EXACT
