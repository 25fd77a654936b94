"""The models and the epoch loop against an independent NumPy implementation."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import arrays, shuffling
from pipeline.learning import determinism

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.learning.inference import (  # noqa: E402
    make_evaluate,
    prepared,
    probabilities,
    scaled,
    score,
    tensor_blocks,
)
from pipeline.learning.training import train  # noqa: E402
from pipeline.modelling.step import make_step  # noqa: E402
from pipeline.models import MLP, LogisticRegression, Model  # noqa: E402
from pipeline.optimizers import adam, sgd  # noqa: E402
from tests.conftest import Project  # noqa: E402
from tests.test_determinism import ONE_CORE  # noqa: E402

ROWS, FEATURES, CLASSES = 300, 12, 4


@pytest.fixture
def examples() -> arrays.Arrays:
    generator = np.random.default_rng(7)
    x = generator.random((ROWS, FEATURES), np.float32)
    return x, generator.integers(0, CLASSES, ROWS).astype(np.uint8)


def oracle_loss(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return -log softmax of the labels in float64."""
    z = x.astype(np.float64) @ w + b
    z -= z.max(1, keepdims=True)
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]


def oracle_gradient(x, y, w, b):  # type: ignore[no-untyped-def]
    """Return the gradients of the mean loss: x^T (p - onehot) / n, and its column sums."""
    z = x.astype(np.float64) @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return x.astype(np.float64).T @ p / len(y), p.mean(0)


def random_model(seed: int = 3, *, exact: bool = True) -> LogisticRegression:
    model = LogisticRegression((FEATURES,), CLASSES, seed=0)
    model.exact = exact
    generator = np.random.default_rng(seed)
    model.weight.assign(generator.standard_normal((FEATURES, CLASSES), np.float32))
    model.bias.assign(generator.standard_normal(CLASSES).astype(np.float32))
    return model


either = pytest.mark.parametrize("exact", [True, False], ids=["portable", "machine"])


@either
def test_loss_and_gradients(examples: arrays.Arrays, exact: bool) -> None:
    x, y = (part[:256] for part in examples)
    model = random_model(exact=exact)
    w, b = model.weight.numpy().astype(np.float64), model.bias.numpy().astype(np.float64)
    with tf.GradientTape() as tape:
        logits = model(prepared(model, x))
    losses, correct, gradient = score(logits, tf.constant(y.astype(np.int32)))
    got = tape.gradient(logits, [model.weight, model.bias], gradient / len(y))
    assert (correct == (logits.numpy().argmax(1) == y)).numpy().all()
    np.testing.assert_allclose(losses, oracle_loss(x, y, w, b), atol=1e-6)
    for ours, theirs in zip(got, oracle_gradient(x, y, w, b), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@either
def test_the_stable_loss_equals_the_tutorials_form(examples: arrays.Arrays, exact: bool) -> None:
    x, y = examples
    model = random_model(exact=exact)
    probability = probabilities(model, x)
    tutorial = -np.log(np.clip(probability[np.arange(ROWS), y], 1e-9, 1.0))
    stable, _, _ = score(model(prepared(model, x)), tf.constant(y.astype(np.int32)))
    np.testing.assert_allclose(stable, tutorial, atol=1e-6)


@either
@pytest.mark.parametrize("batch_size", [32, 300, None])
def test_an_epoch_of_updates(examples: arrays.Arrays, batch_size: int | None, exact: bool) -> None:
    x, y = examples
    model = LogisticRegression((FEATURES,), CLASSES, seed=0, weight=1.0, bias=0.0)
    model.exact = exact
    options = {"epochs": 2, "batch_size": batch_size, "seed": 5}
    epochs = list(train(model, sgd(0.1), (x, y), (x[:0], y[:0]), **options))
    w, b = np.ones((FEATURES, CLASSES)), np.zeros(CLASSES)
    for epoch in epochs:
        rows = shuffling.order(ROWS, 5, epoch.epoch) if batch_size else np.arange(ROWS)
        size, total = batch_size or ROWS, 0.0
        for start in range(0, ROWS, size):
            batch = rows[start : start + size]
            total += oracle_loss(x[batch], y[batch], w, b).sum()
            dw, db = oracle_gradient(x[batch], y[batch], w, b)
            w, b = w - 0.1 * dw, b - 0.1 * db
        assert epoch.loss == pytest.approx(total / ROWS, abs=1e-6)
        assert (epoch.val_loss, epoch.val_accuracy) == (None, None)
    np.testing.assert_allclose(model.weight, w, atol=1e-6)
    np.testing.assert_allclose(model.bias, b, atol=1e-6)


def test_validation_is_of_the_weights_after_the_epoch(examples: arrays.Arrays) -> None:
    x, y = examples
    model = LogisticRegression((FEATURES,), CLASSES, seed=0)
    (epoch,) = train(
        model, sgd(0.5), (x[:200], y[:200]), (x[200:], y[200:]), epochs=1, batch_size=64, seed=0
    )
    losses = oracle_loss(x[200:], y[200:], model.weight.numpy(), model.bias.numpy())
    assert epoch.val_loss == pytest.approx(losses.mean(), abs=1e-6)
    assert epoch.val_accuracy == (probabilities(model, x[200:]).argmax(1) == y[200:]).mean()


def history_and_weights(make: type[Model], split: arrays.Arrays, **options: Any) -> object:
    model = make((8,), CLASSES, 2, **({"hidden": [16]} if make is MLP else {}))
    x, y = split
    epochs = train(
        model,
        sgd(0.1, momentum=0.9),
        (x[:-300], y[:-300]),
        (x[-300:], y[-300:]),
        epochs=2,
        seed=3,
        **options,
    )
    return list(epochs), [variable.numpy().tobytes() for variable in model.weights.values()]


@pytest.mark.parametrize(
    ("make", "batch_size"),
    [
        (LogisticRegression, 1700),
        pytest.param(LogisticRegression, 700, marks=pytest.mark.slow),
        (LogisticRegression, 256),
        (LogisticRegression, None),
        pytest.param(MLP, 97, marks=pytest.mark.slow),
    ],
)
def test_streamed_and_resident_training_give_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: type[Model], batch_size: int | None
) -> None:
    monkeypatch.setattr(
        shuffling, "WINDOW", 2 * shuffling.BLOCK
    )  # four windows, the last one short
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (2100, 8), np.uint8)
    y = generator.integers(0, CLASSES, len(pixels)).astype(np.uint8)
    found = []
    for name, x in (("bytes", pixels), ("floats", pixels / np.float32(255))):
        np.save(tmp_path / f"{name}.npy", x)
        mapped = np.load(tmp_path / f"{name}.npy", mmap_mode="c")
        for resident, read_ahead in ((True, 0), (False, 2**28), (False, 100 * x[:1].nbytes)):
            monkeypatch.setattr(shuffling, "READ_AHEAD", read_ahead)
            options = {"batch_size": batch_size, "resident": resident}
            found.append(history_and_weights(make, (mapped, y), **options))
    assert found == found[:1] * 6


def test_bytes_are_divided_as_preprocess_divides_them() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    expected = (pixels / np.float32(255)).tobytes()
    assert scaled(tf.constant(pixels)).numpy().tobytes() == expected
    in_a_graph = tf.function(lambda: scaled(tf.gather(tf.constant(pixels), tf.range(256))))
    assert in_a_graph().numpy().tobytes() == expected


def test_a_file_that_is_streamed_stays_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffling, "WINDOW", 16 * shuffling.BLOCK)  # 13 MB
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (100_000, 784))  # sparse
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    y = np.zeros(len(x), np.uint8)
    model = LogisticRegression((784,), CLASSES, seed=0)

    def anonymous() -> int:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024

    options = {"epochs": 1, "batch_size": 512, "seed": 0, "resident": False}
    list(train(model, sgd(0.1), (x[:9000], y[:9000]), (x[:9], y[:9]), **options))  # as it starts up
    before, peak, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    list(train(model, sgd(0.1), (x[:-9000], y[:-9000]), (x[-9000:], y[-9000:]), **options))
    done.set()
    watcher.join()
    assert 0 < peak < before + x.nbytes / 3


def test_mlp_forward_pass(examples: arrays.Arrays) -> None:
    x, _ = examples
    model = MLP((FEATURES,), CLASSES, 11, hidden=[6, 5])
    w = {name: variable.numpy().astype(np.float64) for name, variable in model.weights.items()}
    hidden = x.astype(np.float64)
    for layer in range(2):
        hidden = np.maximum(hidden @ w[f"weight_{layer}"] + w[f"bias_{layer}"], 0)
    for rows in (tf.constant(x), prepared(model, x)):
        np.testing.assert_allclose(model(rows), hidden @ w["weight_2"] + w["bias_2"], atol=1e-5)
    again = MLP((FEATURES,), CLASSES, 11, hidden=[6, 5])
    other = MLP((FEATURES,), CLASSES, 12, hidden=[6, 5])
    assert (again.weights["weight_0"].numpy() == model.weights["weight_0"].numpy()).all()
    assert (other.weights["weight_0"].numpy() != model.weights["weight_0"].numpy()).any()


def test_adam_and_momentum_take_their_first_steps(examples: arrays.Arrays) -> None:
    x, y = examples
    w, b = np.ones((FEATURES, CLASSES)), np.zeros(CLASSES)
    gradient, _ = oracle_gradient(x, y, w, b)

    def after_steps(optimizer: object, steps: int) -> np.ndarray:
        model = LogisticRegression((FEATURES,), CLASSES, seed=0)
        step = make_step(model, optimizer, ROWS)  # type: ignore[arg-type]
        rows = prepared(model, x)
        for _ in range(steps):
            step(lambda start, stop: (rows[start:stop], y[start:stop].astype(np.int32)), ROWS)
        return model.weight.numpy()

    epsilon = 1e-7 / np.sqrt(1 - 0.999)  # Keras adds epsilon before the bias is corrected
    expected = w - 0.01 * gradient / (np.abs(gradient) + epsilon)
    np.testing.assert_allclose(after_steps(adam(0.01), 1), expected, atol=1e-5)
    first = w - 0.1 * gradient
    np.testing.assert_allclose(after_steps(sgd(0.1, momentum=0.9), 1), first, atol=1e-6)
    plain, heavy = after_steps(sgd(0.1), 2), after_steps(sgd(0.1, momentum=0.9), 2)
    np.testing.assert_allclose(heavy - plain, -0.09 * gradient, atol=1e-6)


def test_evaluate_counts_every_example() -> None:
    x = np.eye(CLASSES, dtype=np.float32).repeat(2500, 0)  # more than one block
    y = np.arange(CLASSES, dtype=np.uint8).repeat(2500)
    y[:100] = 1
    model = LogisticRegression((CLASSES,), CLASSES, seed=0)
    model.weight.assign(9 * np.eye(CLASSES, dtype=np.float32))
    loss, accuracy = make_evaluate(model)(tensor_blocks(model, x, y))
    assert accuracy == 0.99
    w, b = model.weight.numpy().astype(np.float64), np.zeros(CLASSES)
    assert loss == pytest.approx(oracle_loss(x, y, w, b).mean(), abs=1e-6)


@pytest.mark.slow
def test_the_tutorials_own_run(mnist: Path, tmp_path: Path) -> None:
    """60 losses to 1e-5, and the test accuracy."""
    project = Project(mnist)
    project.stage("train", "+experiment=tutorial", f"paths.output={tmp_path}")
    project.stage("evaluate", "+experiment=tutorial", f"paths.output={tmp_path}")
    expected = json.loads(
        (Path(__file__).parent / "tutorial_losses.json").read_text(encoding="utf-8")
    )["losses"]
    rows = (tmp_path / "metrics/history.csv").read_text(encoding="utf-8").splitlines()[1:]
    losses = [float(row.split(",")[1]) for row in rows]
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    evaluation = json.loads((tmp_path / "metrics/evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["accuracy"] == pytest.approx(0.856, abs=2e-4)


SAME = [
    {"PYTHONHASHSEED": "1"},
    {"PYTHONHASHSEED": "2", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
    {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "SSE41"},  # overruled
]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", ["256", "null"])
def test_the_same_bits_in_every_process(mnist: Path, tmp_path: Path, batch_size: str) -> None:
    project = Project(mnist)
    arguments = ["train.epochs=2", f"train.batch_size={batch_size}"]

    def trained(name: str, *more: str, cores: str = "", **environment: str) -> list[bytes]:
        command = [sys.executable, "-m", "pipeline.train", f"paths.output={tmp_path / name}"]
        pin = ["taskset", "-c", cores] if cores else []
        project.run(*pin, *command, *arguments, *more, **environment)
        files = ("models/weights.npz", "metrics/history.csv")
        return [(tmp_path / name / file).read_bytes() for file in files]

    first = trained("first", cores=ONE_CORE)
    for number, environment in enumerate(SAME):
        assert trained(f"again {number}", **environment) == first
    if batch_size != "null":  # full batches have no order
        assert trained("another seed", "seed=1")[0] != first[0]
    assert (tmp_path / "first/models/weights.npz").stat().st_size > 784 * 10 * 4
