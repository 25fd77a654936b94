"""The models and the epoch loop against an independent NumPy implementation."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import data, determinism

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.inference import cross_entropy, make_evaluate, probabilities, read  # noqa: E402
from pipeline.models import MLP, LogisticRegression, Model  # noqa: E402
from pipeline.optimizers import adam, sgd  # noqa: E402
from pipeline.training import make_step, train  # noqa: E402
from tests.conftest import Project  # noqa: E402

ROWS, FEATURES, CLASSES = 300, 12, 4


@pytest.fixture
def examples() -> data.Arrays:
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


def random_model(seed: int = 3) -> LogisticRegression:
    model = LogisticRegression(FEATURES, CLASSES, seed=0)
    generator = np.random.default_rng(seed)
    model.weight.assign(generator.standard_normal((FEATURES, CLASSES), np.float32))
    model.bias.assign(generator.standard_normal(CLASSES).astype(np.float32))
    return model


def test_loss_and_gradients(examples: data.Arrays) -> None:
    x, y = examples
    model = random_model()
    w, b = model.weight.numpy().astype(np.float64), model.bias.numpy().astype(np.float64)
    with tf.GradientTape() as tape:
        losses = cross_entropy(model(tf.constant(x)), tf.constant(y.astype(np.int32)))
        mean = tf.reduce_mean(losses)
    got = tape.gradient(mean, [model.weight, model.bias])
    np.testing.assert_allclose(losses, oracle_loss(x, y, w, b), atol=1e-6)
    for ours, theirs in zip(got, oracle_gradient(x, y, w, b), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_stable_loss_equals_the_tutorials_form(examples: data.Arrays) -> None:
    x, y = examples
    model = random_model()
    probability = probabilities(model, x)
    tutorial = -np.log(np.clip(probability[np.arange(ROWS), y], 1e-9, 1.0))
    stable = cross_entropy(model(tf.constant(x)), tf.constant(y.astype(np.int32)))
    np.testing.assert_allclose(stable, tutorial, atol=1e-6)


@pytest.mark.parametrize("batch_size", [32, 300, None])
def test_an_epoch_of_updates(examples: data.Arrays, batch_size: int | None) -> None:
    x, y = examples
    model = LogisticRegression(FEATURES, CLASSES, seed=0, weight=1.0, bias=0.0)
    options = {"epochs": 2, "batch_size": batch_size, "seed": 5}
    epochs = list(train(model, sgd(0.1), (x, y), (x[:0], y[:0]), **options))
    w, b = np.ones((FEATURES, CLASSES)), np.zeros(CLASSES)
    for epoch in epochs:
        rows = data.order(ROWS, 5, epoch.epoch) if batch_size else np.arange(ROWS)
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


def test_validation_is_of_the_weights_after_the_epoch(examples: data.Arrays) -> None:
    x, y = examples
    model = LogisticRegression(FEATURES, CLASSES, seed=0)
    (epoch,) = train(
        model, sgd(0.5), (x[:200], y[:200]), (x[200:], y[200:]), epochs=1, batch_size=64, seed=0
    )
    losses = oracle_loss(x[200:], y[200:], model.weight.numpy(), model.bias.numpy())
    assert epoch.val_loss == pytest.approx(losses.mean(), abs=1e-6)
    assert epoch.val_accuracy == (probabilities(model, x[200:]).argmax(1) == y[200:]).mean()


@pytest.mark.parametrize("make", [LogisticRegression, MLP])
@pytest.mark.parametrize("rows", [300, 70_000])
def test_streamed_and_resident_training_give_the_same_bits(make: type[Model], rows: int) -> None:
    generator = np.random.default_rng(1)
    x = generator.random((rows, 8), np.float32)
    y = generator.integers(0, CLASSES, rows).astype(np.uint8)
    found = []
    for resident in (True, False):
        model = make(8, CLASSES, 2, **({"hidden": [16]} if make is MLP else {}))
        held_out = (x[:50], y[:50])
        epochs = train(
            model,
            sgd(0.1, momentum=0.9),
            (x, y),
            held_out,
            epochs=2,
            batch_size=97,
            seed=3,
            resident=resident,
        )
        history = list(epochs)
        found.append((history, [variable.numpy().tobytes() for variable in model.weights.values()]))
    assert found[0] == found[1]


def test_mlp_forward_pass(examples: data.Arrays) -> None:
    x, _ = examples
    model = MLP(FEATURES, CLASSES, 11, hidden=[6, 5])
    w = {name: variable.numpy().astype(np.float64) for name, variable in model.weights.items()}
    hidden = x.astype(np.float64)
    for layer in range(2):
        hidden = np.maximum(hidden @ w[f"weight_{layer}"] + w[f"bias_{layer}"], 0)
    np.testing.assert_allclose(
        model(tf.constant(x)), hidden @ w["weight_2"] + w["bias_2"], atol=1e-5
    )
    again = MLP(FEATURES, CLASSES, 11, hidden=[6, 5])
    other = MLP(FEATURES, CLASSES, 12, hidden=[6, 5])
    assert (again.weights["weight_0"].numpy() == model.weights["weight_0"].numpy()).all()
    assert (other.weights["weight_0"].numpy() != model.weights["weight_0"].numpy()).any()


def test_adam_and_momentum_take_their_first_steps(examples: data.Arrays) -> None:
    x, y = examples
    w, b = np.ones((FEATURES, CLASSES)), np.zeros(CLASSES)
    gradient, _ = oracle_gradient(x, y, w, b)

    def after_steps(optimizer: object, steps: int) -> np.ndarray:
        model = LogisticRegression(FEATURES, CLASSES, seed=0)
        step = make_step(model, optimizer, ROWS)  # type: ignore[arg-type]
        for _ in range(steps):
            step(lambda start, stop: (x[start:stop], y[start:stop].astype(np.int32)), ROWS)
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
    model = LogisticRegression(CLASSES, CLASSES, seed=0)
    model.weight.assign(9 * np.eye(CLASSES, dtype=np.float32))
    loss, accuracy = make_evaluate(model, often=False)(read(x, y))
    assert accuracy == 0.99
    w, b = model.weight.numpy().astype(np.float64), np.zeros(CLASSES)
    assert loss == pytest.approx(oracle_loss(x, y, w, b).mean(), abs=1e-6)


def test_the_tutorials_own_run(mnist: Path, tmp_path: Path) -> None:
    """60 losses to 1e-5, and the test accuracy."""
    project = Project(mnist)
    project.stage("train", "+experiment=tutorial", f"paths.output={tmp_path}")
    project.stage("evaluate", "+experiment=tutorial", f"paths.output={tmp_path}")
    expected = json.loads((Path(__file__).parent / "tutorial_losses.json").read_text())["losses"]
    rows = (tmp_path / "metrics/history.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[1]) for row in rows]
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    evaluation = json.loads((tmp_path / "metrics/evaluation.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(0.856, abs=2e-4)


SAME = [
    {"PYTHONHASHSEED": "1"},
    {"PYTHONHASHSEED": "2", "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
    {"TF_ENABLE_ONEDNN_OPTS": "0", "ONEDNN_MAX_CPU_ISA": "SSE41"},  # overruled
]


@pytest.mark.parametrize("batch_size", ["256", "1000", "null"])
def test_the_same_bits_in_every_process(mnist: Path, tmp_path: Path, batch_size: str) -> None:
    project = Project(mnist)
    arguments = ["train.epochs=2", f"train.batch_size={batch_size}"]

    def trained(name: str, *more: str, cores: str = "", **environment: str) -> list[bytes]:
        command = [sys.executable, "-m", "pipeline.train", f"paths.output={tmp_path / name}"]
        pin = ["taskset", "-c", cores] if cores else []
        project.run(*pin, *command, *arguments, *more, **environment)
        files = ("models/weights.npz", "metrics/history.csv")
        return [(tmp_path / name / file).read_bytes() for file in files]

    first = trained("first", cores="0" if sys.platform == "linux" else "")
    for number, environment in enumerate(SAME):
        assert trained(f"again {number}", **environment) == first
    if batch_size != "null":
        assert trained("another seed", "seed=1")[0] != first[0]
    assert (tmp_path / "first/models/weights.npz").stat().st_size > 784 * 10 * 4
