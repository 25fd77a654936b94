"""The learning rate of each step, and the end of a training that gets no better."""

import math
from contextlib import nullcontext
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

from pipeline import optimizers, schedules
from pipeline.data import arrays
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.learning import checkpoint, determinism, history, promise, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.modelling.keras_model import KerasModel
from pipeline.modelling.model import Model
from pipeline.models import LogisticRegression
from pipeline.schedules import SCHEDULES
from pipeline.settings import inputs
from pipeline.settings.check import check
from pipeline.settings.schema import Config
from pipeline.trials import trial_file
from tests.conftest import Project
from tests.defaults import EXPERIMENT

determinism.enable(seed=0)

from pipeline.learning.learner import Learner  # noqa: E402
from tests import oracle  # noqa: E402

FILES = ("models/weights.npz", "metrics/history.csv")
PATIENT = ("train.epochs=40", "train.patience=3", "train.learning_rate=2.0")


def cosine(progress: float) -> Decimal:
    """Return (1 + cos(pi progress)) / 2 from the series of the cosine."""
    with localcontext(prec=60):
        square = (
            Decimal("3.14159265358979323846264338327950288419716939937510") * Decimal(progress)
        ) ** 2
        term, total = Decimal(1), Decimal(1)
        for place in range(1, 60, 2):
            term *= -square / (place * (place + 1))
            total += term
        return (1 + total) / 2


def test_the_cosine_is_correctly_rounded() -> None:
    generator = np.random.default_rng(0)
    places = [
        *(np.arange(1000) / 1000).tolist(),
        *generator.random(2000).tolist(),
        1e-9,
        1 - 2.0**-24,
    ]
    assert [SCHEDULES["cosine"](place) for place in places] == [
        float(cosine(one)) for one in places
    ]


def test_each_schedule_begins_with_the_whole_rate() -> None:
    for name in (name for name, one in SCHEDULES.items() if one.__module__ == schedules.__name__):
        rates = schedules.learning_rates(name, 0.1, 8)
        assert rates[0] == np.float32(0.1)
        assert rates.dtype == np.float32
        assert (np.diff(rates) <= 0).all()
        assert (rates[-1] < 0.02) == (name != "constant")
    assert (
        schedules.learning_rates("step", 1.0, 8).tolist()
        == [1.0] * 4 + [np.float32(0.1)] * 2 + [np.float32(0.01)] * 2
    )
    assert schedules.learning_rates("linear", 1.0, 4).tolist() == [1.0, 0.75, 0.5, 0.25]
    assert schedules.learning_rates("linear", 2e-38, 4).tolist()[2:] == [0, 0]  # not denormal


def test_rates_that_are_too_many_or_no_rates_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match="'linear' is for up to 16,777,216 steps, and this training"
    ):
        schedules.learning_rates("linear", 0.1, 2**24 + 1)
    for factor in (-0.5, math.nan, math.inf, None, "1"):
        table = {"own": lambda progress, factor=factor: factor}
        monkeypatch.setattr(schedules, "SCHEDULES", table)
        with pytest.raises(
            UserError, match=f"'own' gives the factor {factor!r} for the progress 0: "
        ):
            schedules.learning_rates("own", 0.1, 3)


@pytest.fixture
def ready(reproduced: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose folder is the current one; checkpoints are written after every epoch."""
    monkeypatch.chdir(reproduced.folder)
    monkeypatch.setattr(checkpoint, "MOST_TIME", math.inf)
    monkeypatch.setattr(inputs, "code", lambda stage: {})  # kept of another folder's files
    return reproduced


def composed(project: Project, *overrides: str) -> Config:
    with initialize_config_dir(str(project / "conf"), version_base="1.3"):
        return check(compose("config", [f"paths.output={project.folder}", *overrides]))


def learner_of(config: Config) -> Learner:
    return Learner(config, arrays.split(config), Checkpoint(config, Path()))


class Interrupted(Exception):  # noqa: N818  # no error
    pass


def trained(config: Config, *, until: int = 0) -> list[bytes]:
    """Train, or go on, and return the bytes of what is written; stop after an epoch if asked."""

    def interrupt(epoch: history.Epoch) -> None:
        if epoch.epoch == until:
            raise Interrupted

    made = learner_of(config)
    made.fit([interrupt])
    made.save()
    made.checkpoint.remove()
    return [(config.paths.output / name).read_bytes() for name in FILES]


@pytest.mark.parametrize(
    ("schedule", "optimizer"), [("step", "sgd"), ("linear", "sgd"), ("cosine", "adam")]
)
def test_training_follows_a_schedule(
    ready: Project, tmp_path: Path, schedule: str, optimizer: str
) -> None:
    """Bit for bit as the oracle does, whose rates are worked out here; and when it goes on."""
    config = composed(ready, f"train.schedule={schedule}", f"optimizer={optimizer}", "seed=3")
    (x, y), (held_out, labels), _ = arrays.split(config)
    steps = 3 * 10
    factors = {
        "step": lambda p: 1.0 if p < 0.5 else 0.1 if p < 0.75 else 0.01,
        "cosine": lambda p: float(cosine(p)),
        "linear": lambda p: 1 - p,
    }
    rates = [0.1 * factors[schedule](step / steps) for step in range(steps)]

    def update(gradient: Any, state: Any, step: int) -> Any:
        return getattr(oracle, optimizer)(gradient, state, step, rate=rates[step - 1])

    made = learner_of(config)
    layers = [tuple(one.numpy().copy() for one in made.model.weights.values())]
    sets = [
        (np.rint(a * np.float32(255)).astype(np.uint8), b) for a, b in ((x, y), (held_out, labels))
    ]
    rows = oracle.train(layers, update, *sets, epochs=3, batch_size=16, seed=3)
    expected = list(rows)
    assert len(y) == 160
    made.fit([])
    assert [list(epoch.metrics.values()) for epoch in made.epochs] == expected
    for variable, array in zip(made.model.weights.values(), layers[0], strict=True):
        assert variable.numpy().tobytes() == array.tobytes()
    made.checkpoint.remove()
    if schedule == "cosine":  # the others go on likewise
        whole = trained(config)
        with pytest.raises(Interrupted):
            trained(config, until=2)
        assert learner_of(config).checkpoint.reached == 2
        assert trained(config) == whole


class Normed(KerasModel):
    """A model with a state that is not trained: the means and variances of its features."""

    def layers(self, shape: tuple[int, ...], classes: int) -> list[Any]:
        from keras import layers

        return [layers.Flatten(), layers.BatchNormalization(), layers.Dense(classes)]


@pytest.mark.parametrize(
    ("objective", "model"), [("val_accuracy", LogisticRegression), ("val_loss", Normed)]
)
def test_patience_keeps_the_best_epoch(
    ready: Project, monkeypatch: pytest.MonkeyPatch, objective: str, model: type[Model]
) -> None:
    """The weights are those of a training that ends there, whatever has interrupted it."""
    monkeypatch.setattr(weights, "build", lambda config, shape: model(shape, 3, config.seed))
    direction = "minimize" if objective == "val_loss" else "maximize"
    given = (*PATIENT, f"sweep.objective={objective}", f"sweep.direction={direction}")
    config = composed(ready, *given)
    bits, table = trained(config)
    rows = history.read(config.paths.metrics / "history.csv")
    values = [row.metrics[objective] for row in rows]
    best = (min if objective == "val_loss" else max)(values)
    place = values.index(best) + 1
    assert len(rows) == place + 3 < 40
    assert history.best(rows, objective, direction).epoch == place
    _, longer = trained(composed(ready, *PATIENT, "train.patience=null"))
    assert longer.startswith(table)
    short = composed(ready, *PATIENT, "train.patience=null", f"train.epochs={place}")
    assert trained(short)[0] == bits
    for until in (place, place + 3):
        with pytest.raises(Interrupted):
            trained(config, until=until)
        assert trained(config) == [bits, table]


def test_an_optimizer_with_a_schedule_of_its_own_takes_no_other(
    ready: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def decaying(learning_rate: float) -> Any:
        rate = keras.optimizers.schedules.ExponentialDecay(learning_rate, 5, 0.5)
        return keras.optimizers.SGD(rate)

    config = composed(ready, "optimizer=adam", "train.schedule=linear")
    monkeypatch.setattr(optimizers, "OPTIMIZERS", {"adam": lambda rate, **_: decaying(rate)})
    monkeypatch.setattr(promise, "EXACT", set())
    line = "train.schedule: 'linear' is not for the optimizer 'adam', which has learning rates of"
    with pytest.raises(UserError, match=line):
        learner_of(config)


def test_an_optimizer_is_one_whose_steps_are_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    sgd = keras.optimizers.SGD
    for made, line in (
        (None, "must return a Keras optimizer, not None"),
        (sgd(0.1, use_ema=True), "averages the weights, but does not use the average"),
        (sgd(0.1, loss_scale_factor=8.0), "is for a loss that is scaled"),
        (keras.optimizers.LossScaleOptimizer(sgd(0.1)), "is for a loss that is scaled"),
        (sgd(0.1, use_ema=True, ema_overwrite_frequency=5), None),
    ):
        monkeypatch.setattr(optimizers, "OPTIMIZERS", {"own": lambda rate, made=made: made})
        with pytest.raises(UserError, match=line) if line else nullcontext():
            optimizers.make("own", 0.1, "constant", 1, {}, exact=False)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["train.schedule=cosin"],
            "there is no 'cosin'; choose one of constant, step, cosine, linear",
        ),
        (
            ["train.patience=3", "train.validation_size=0"],
            "train.patience needs held-out examples: set train.validation_size, or sweep.objective",
        ),
        (
            ["train.patience=3", "sweep.objective=val_loss"],
            "sweep.direction should be minimize, as train.patience waits for a better val_loss",
        ),
        (["train.patience=0"], "train.patience should be greater than or equal to 1, not 0"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    ready: Project, overrides: list[str], line: str
) -> None:
    with pytest.raises(UserError) as refused:
        composed(ready, *overrides)
    assert line in str(refused.value)


def test_no_schedule_is_the_constant_one(ready: Project) -> None:
    assert composed(ready, "train.schedule=null") == composed(ready)


@pytest.mark.slow
def test_stages_sweeps_and_the_record(reproduced: Project) -> None:
    """The stage, a sweep with an objective of its own, and `promote`, which takes it over."""
    loss = ("sweep.objective=val_loss", "sweep.direction=minimize")
    given = (*PATIENT, *loss, "train.schedule=cosine")
    said = reproduced.stage("train", *given).stdout
    rows = history.read(reproduced / "metrics/history.csv")
    best = min(rows, key=lambda row: row.metrics["val_loss"])
    assert best.epoch < len(rows) < 40
    assert f"val_loss is best in epoch {best.epoch}: its weights are kept\n" in said
    client = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    run, *_ = client.search_runs([experiment.experiment_id], "tags.kind = 'training'")
    assert run.data.metrics["best_epoch"] == best.epoch
    assert run.data.metrics["val_loss"] == pytest.approx(best.metrics["val_loss"], rel=1e-8)
    assert run.data.tags["pipeline.same_bits_on"] == "every machine"
    assert run.data.params["train.schedule"] == "cosine"
    logged = client.get_metric_history(run.info.run_id, "learning_rate")
    expected = [schedules.learning_rate("cosine", 2.0, row.epoch - 1, 40) for row in rows]
    assert [point.value for point in logged] == expected

    rates = {PATIENT[2]: "train.learning_rate=1.0,2.0"}
    done = reproduced.stage("train", "-m", *(rates.get(item, item) for item in given))
    assert "trained together" not in done.stdout
    paths = sorted((reproduced / "multirun").glob("*/*/trial.json"))
    _, trial = map(trial_file.read, paths)
    assert trial.metrics == pytest.approx(best.metrics, rel=1e-8)
    assert trial.settings["sweep"] == {"objective": "val_loss", "direction": "minimize"}
    assert [sha256(reproduced / trial.folder / name) for name in FILES] == [
        sha256(reproduced / name) for name in FILES
    ]
    note = client.get_run(trial.run_id).data.tags["mlflow.note.content"]
    assert all(item in note for item in (*loss, "train.patience=3"))
    reproduced.stage("promote", f"run_id={trial.run_id}")
    params = yaml.safe_load((reproduced / "params.yaml").read_text(encoding="utf-8"))
    assert (params["train"]["patience"], params["train"]["schedule"]) == (3, "cosine")
    before = [sha256(reproduced / name) for name in FILES]
    assert reproduced.repro("train") == ["train"]
    assert [sha256(reproduced / name) for name in FILES] == before
