"""What every model, optimizer and data set that can be chosen must do, those of a user too.

The tables and the files of conf/ are read: a new entry is tested without a change here.
"""

import math
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

from pipeline.data import shuffling
from pipeline.learning import checkpoint, determinism, history, weights
from pipeline.learning.checkpoint import Checkpoint
from pipeline.models import MODELS, Model
from pipeline.optimizers import OPTIMIZERS
from pipeline.schedules import SCHEDULES, learning_rates
from pipeline.settings import inputs
from pipeline.settings.check import check
from pipeline.settings.schema import Config
from tests.conftest import ROOT

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.learning.inference import prepared  # noqa: E402
from pipeline.learning.training import train  # noqa: E402
from pipeline.modelling.logits import logits_of, score  # noqa: E402
from pipeline.modelling.step import block_seed  # noqa: E402

SHAPE = 28, 28  # so that a model which looks at pictures has some
CLASSES = "dataset.classes=[a,b,c,d,e,f,g,h,i,j]"
ROWS, HELD_OUT, EPOCHS = 600, 100, 3
STEP = 2e-3  # of a weight: float32, which rounds a loss by 1e-7, then gives slopes to about 1e-5
TOLERANCE = 0.01  # of an array's largest derivative, 0.01 or more here; so much do ReLUs bend
IN_FLOAT32 = 0.03  # of one that is not exact: maxima bend too, and float32 rounds each layer
COORDINATES = 8  # of each array that are looked at
DEFAULTS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def names(group: str) -> list[str]:
    """Return the names of the files of a group of conf/."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


PAIRS = [
    *((model, DEFAULTS["optimizer"]) for model in names("model")),
    *((DEFAULTS["model"], one) for one in names("optimizer") if one != DEFAULTS["optimizer"]),
]
Composed = Callable[..., Config]
each_model = pytest.mark.parametrize("model", names("model"))
each_pair = pytest.mark.parametrize("pair", PAIRS, ids="-".join)


@pytest.fixture
def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Composed:
    """Return the configuration for some choices; the folder has a data set of random pixels."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "code", lambda stage: {})

    def compose_checked(**choices: str) -> Config:
        overrides = [f"{group}={name}" for group, name in choices.items()]
        if "dataset" not in choices:  # the bounds below are those of random labels of ten classes
            overrides.append(CLASSES)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = check(compose("config", ["paths.output=.", *overrides]))
        if not config.paths.processed.exists():
            write_examples(config)
        return config

    return compose_checked


def write_examples(config: Config) -> None:
    generator = np.random.default_rng(1)
    config.paths.processed.mkdir(parents=True)
    x = generator.random((ROWS + HELD_OUT, math.prod(SHAPE)), np.float32)
    y = generator.integers(0, len(config.dataset.classes), len(x)).astype(np.uint8)
    np.save(config.paths.processed / "x_train.npy", x)
    np.save(config.paths.processed / "y_train.npy", y)


def examples(config: Config) -> tuple[Any, Any]:
    """Return the training examples, from the mapped file, and those held out."""
    x, y = (
        np.load(config.paths.processed / f"{name}_train.npy", mmap_mode="c") for name in ("x", "y")
    )
    return (x[:ROWS], y[:ROWS]), (x[ROWS:], y[ROWS:])


def build(config: Config) -> tuple[Model, Any]:
    model = weights.build(config, SHAPE)
    optimizer = OPTIMIZERS[config.optimizer.name](
        config.train.learning_rate, **config.optimizer.options
    )
    return model, optimizer


def bits(model: Model) -> dict[str, bytes]:
    return {name: variable.numpy().tobytes() for name, variable in model.saved.items()}


def trained(
    config: Config, saved: Checkpoint | None = None, *, epochs: int = EPOCHS, resident: bool = True
) -> tuple[list[history.Epoch], dict[str, bytes]]:
    """Train for so many epochs, from the checkpoint on if there is one."""
    model, optimizer = build(config)
    done = saved.restore(model, optimizer) if saved else []
    options: dict[str, Any] = {"start": len(done) + 1, "batch_size": 64, "seed": config.seed}
    rest = train(model, optimizer, *examples(config), epochs=EPOCHS, resident=resident, **options)
    for epoch in islice(rest, epochs):
        done.append(epoch)
        if saved:
            saved.keep(done)
    return done, bits(model)


def test_every_entry_of_the_tables_has_a_file(composed: Composed) -> None:
    chosen = {composed(model=name).model.name for name in names("model")}
    assert chosen == set(MODELS)
    chosen = {composed(optimizer=name).optimizer.name for name in names("optimizer")}
    assert chosen == set(OPTIMIZERS)


def test_a_schedule_gives_each_step_a_learning_rate() -> None:
    for name in SCHEDULES:
        rates = learning_rates(name, 0.1, 1000)
        assert np.isfinite(rates).all()
        assert (rates >= 0).all()
        assert rates.any()
        assert learning_rates(name, 0.1, 1000).tobytes() == rates.tobytes(), name


@pytest.mark.parametrize("dataset", names("dataset"))
def test_a_data_set_has_the_name_of_its_file_and_folder(composed: Composed, dataset: str) -> None:
    config = composed(dataset=dataset)
    assert config.dataset.name == dataset
    assert config.paths.raw.parts[-2:] == ("raw", dataset)
    assert len(set(config.dataset.classes)) == len(config.dataset.classes)


@each_model
def test_the_gradients_are_those_of_finite_differences(composed: Composed, model: str) -> None:
    gradients_are_right(composed(model=model))


def gradients_are_right(config: Config) -> None:
    """What a step of gradient descent at the rate 1 takes off is the gradient of the mean loss."""
    made = weights.build(config, SHAPE)
    assert made.weights
    generator = np.random.default_rng(2)
    for variable in made.weights.values():
        variable.assign(0.05 * generator.standard_normal(variable.shape))
    before = {name: variable.numpy() for name, variable in made.weights.items()}
    (x, y), _ = examples(config)
    x, y = x[:64], y[:64]
    descent = OPTIMIZERS["sgd"](1.0)
    list(train(made, descent, (x, y), (x[:0], y[:0]), epochs=1, batch_size=None, seed=0))
    gradients = {name: before[name] - made.weights[name].numpy() for name in before}

    def mean_loss() -> float:
        logits = logits_of(made, prepared(made, x), training=True, seed=block_seed(0, 0, 0))
        losses, _, _ = score(logits, tf.constant(y.astype(np.int32)), made.own_loss)
        penalty = 0.0 if (found := made.penalty()) is None else float(found)
        return float(losses.numpy().astype(np.float64).mean()) + penalty

    for name, variable in made.weights.items():
        variable.assign(before[name])
    for name, variable in made.weights.items():
        largest = np.abs(gradients[name]).max()
        assert largest > 0, f"{name} has no influence on the loss"
        for flat in generator.integers(0, before[name].size, COORDINATES):
            index = np.unravel_index(flat, before[name].shape)
            losses = []
            for step in (STEP, -STEP):
                moved = before[name].copy()
                moved[index] += step
                variable.assign(moved)
                losses.append(mean_loss())
            variable.assign(before[name])
            slope = (losses[0] - losses[1]) / (2 * STEP)
            bound = TOLERANCE * largest if made.exact else max(IN_FLOAT32 * largest, 1e-5)
            assert abs(slope - gradients[name][index]) <= bound, (name, index)


@each_model
def test_what_is_saved_is_restored(composed: Composed, tmp_path: Path, model: str) -> None:
    saved_is_restored(composed(model=model), tmp_path)


def saved_is_restored(config: Config, tmp_path: Path) -> None:
    made, again = weights.build(config, SHAPE), weights.build(config, SHAPE)
    generator = np.random.default_rng(3)
    for variable in made.saved.values():
        variable.assign(generator.standard_normal(variable.shape))
    weights.save(made, tmp_path / "weights.npz")
    assert bits(again) != bits(made)
    weights.restore(again, tmp_path / "weights.npz")
    assert bits(again) == bits(made)
    weights.save(again, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "weights.npz").read_bytes()


@each_pair
def test_all_ways_of_training_give_the_same_bits(
    composed: Composed, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]
) -> None:
    same_bits_in_all_ways(composed(model=pair[0], optimizer=pair[1]), monkeypatch)


def same_bits_in_all_ways(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one go, from a file that is streamed, and from the checkpoint of the first epoch."""
    monkeypatch.setattr(shuffling, "WINDOW", 2 * shuffling.BLOCK)  # two windows, the last one short
    monkeypatch.setattr(
        shuffling, "READ_AHEAD", 100 * 4 * math.prod(SHAPE)
    )  # a hundred rows at a time
    monkeypatch.setattr(checkpoint, "MOST_TIME", math.inf)  # it is written after each epoch
    epochs, found = whole = trained(config)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert all(math.isfinite(value) for epoch in epochs for value in epoch.metrics.values())
    assert found != bits(build(config)[0]), "training has changed nothing"
    assert trained(config, resident=False) == whole
    saved = Checkpoint(config, Path())
    assert len(trained(config, saved, epochs=1)[0]) == 1
    again = Checkpoint(config, Path())
    assert again.reached == 1
    assert trained(config, again) == whole
