"""Training gives, bit for bit, what a reading of docs/exact.md gives in NumPy alone."""

import csv
from collections.abc import Iterator
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pipeline.learning import determinism

determinism.enable(seed=0)

from pipeline.learning import training  # noqa: E402  # after the settings of TensorFlow
from pipeline.models import MLP, LogisticRegression, Model  # noqa: E402
from pipeline.optimizers import OPTIMIZERS  # noqa: E402
from tests import oracle  # noqa: E402
from tests.conftest import Project  # noqa: E402

ROWS, HELD_OUT = 1200, 300


def made(hidden: list[int], l2: float) -> Model:
    options: dict[str, Any] = {"l2": l2} | ({"hidden": hidden} if hidden else {})
    model = (MLP if hidden else LogisticRegression)((784,), 10, 1, **options)
    model.exact = True
    return model


def layers_of(arrays: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of weight and bias, which the oracle trains in place."""
    copies = [array.copy() for array in arrays]
    return list(zip(copies[::2], copies[1::2], strict=True))


OPTIMIZER = [  # with options, a learning rate and an L2 penalty
    ("sgd", {}, 0.1, 0.0),
    ("sgd", {"momentum": 0.9}, 0.1, 0.01),
    ("sgd", {"momentum": 0.9, "nesterov": True}, 0.1, 0.0),
    ("adam", {}, 0.001, 0.03),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The oracle's products are small: other threads would mostly wait for each other."""
    with threadpool_limits(1):
        yield


SIZES = [[], [32], [24, 1, 16]]  # of hidden layers
BATCHES = [256, None, 1100]
QUICK = [*zip(SIZES, BATCHES, strict=True)]  # each once; the other pairs are slow
PAIRS = [
    pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow)
    for pair in product(SIZES, BATCHES)
]


@pytest.mark.parametrize(("hidden", "batch_size"), PAIRS, ids=str)
def test_two_epochs_of_each_optimizer(mnist: Path, hidden: list[int], batch_size: Any) -> None:
    folder = mnist / "data/processed"
    x = np.load(folder / "x_train.npy", mmap_mode="c")
    k, y = oracle.load(str(folder), "train")
    first, last = slice(ROWS), slice(ROWS, ROWS + HELD_OUT)
    options = {"epochs": 2, "batch_size": batch_size, "seed": 3}
    for name, settings, rate, l2 in OPTIMIZER:
        model, optimizer = made(hidden, l2), OPTIMIZERS[name](rate, **settings)
        layers = layers_of([weight.numpy() for weight in model.weights.values()])
        split = (x[first], y[first]), (x[last], y[last])
        epochs = list(training.train(model, optimizer, *split, **options))
        update = partial(getattr(oracle, name), rate=rate, **settings)
        expected = list(
            oracle.train(layers, update, (k[first], y[first]), (k[last], y[last]), l2=l2, **options)
        )
        assert [list(epoch.metrics.values()) for epoch in epochs] == expected
        for variable, weight in zip(model.weights.values(), chain(*layers), strict=True):
            assert variable.numpy().tobytes() == weight.tobytes(), (name, settings, variable.name)


@pytest.mark.slow
def test_the_train_stage(mnist: Path, tmp_path: Path) -> None:
    """All 60 epochs on 55,000 rows, as the committed results were made: half a minute."""
    Project(mnist).stage(
        "train",
        f"paths.output={tmp_path}",
        *("train.batch_size=256", "train.learning_rate=0.1", "train.validation_size=5000"),
        *("train.epochs=60", "seed=0", "model=logistic_regression", "optimizer=sgd"),
    )
    k, y = oracle.load(str(mnist / "data/processed"), "train")
    layers = layers_of([np.ones((784, 10), np.float32), np.zeros(10, np.float32)])
    sets = (k[:-5000], y[:-5000]), (k[-5000:], y[-5000:])
    options = {"epochs": 60, "batch_size": 256, "seed": 0}
    history = list(oracle.train(layers, partial(oracle.sgd, rate=0.1), *sets, **options))
    with (tmp_path / "metrics/history.csv").open(encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    assert rows == [
        [str(number), *(f"{value:.9g}" for value in row)] for number, row in enumerate(history, 1)
    ]
    with np.load(tmp_path / "models/weights.npz") as weights:
        assert weights["weight"].tobytes() == layers[0][0].tobytes()
        assert weights["bias"].tobytes() == layers[0][1].tobytes()
