"""A loss and a penalty of a model's own: they are minimised, and what is wrong is one line."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.learning import determinism

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.learning.inference import judge, prepared  # noqa: E402
from pipeline.learning.promise import promise  # noqa: E402
from pipeline.learning.training import train  # noqa: E402
from pipeline.models import MLP, MODELS, LogisticRegression, Model, is_exact, make  # noqa: E402
from pipeline.optimizers import sgd  # noqa: E402

FEATURES, CLASSES, ROWS = 6, 3, 150
WEIGHTS = np.array([1.0, 4.0, 0.5], np.float32)  # of the classes


class Weighted(LogisticRegression):
    """Some classes count more than others."""

    def loss(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return super().loss(logits, y) * tf.gather(WEIGHTS, y)


class Sparse(LogisticRegression):
    """The absolute values of the weights are added to the loss."""

    def penalty(self) -> tf.Tensor:
        return 0.1 * tf.reduce_sum(tf.abs(self.weights["weight"]))


def examples() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    x = generator.random((ROWS, FEATURES), np.float32)
    return x, generator.integers(0, CLASSES, ROWS).astype(np.uint8)


def step(model: Model, rate: float = 1.0) -> tuple[Any, dict[str, np.ndarray]]:
    """Take one step on the full batch; return the history's row and how much less weights are."""
    x, y = examples()
    before = {name: one.numpy() for name, one in model.weights.items()}
    options: dict[str, Any] = {"epochs": 1, "batch_size": None, "seed": 0}
    (epoch,) = train(model, sgd(rate), (x, y), (x[:50], y[:50]), **options)
    return epoch, {name: before[name] - one.numpy() for name, one in model.weights.items()}


def softmax(logits: np.ndarray) -> np.ndarray:
    exps = np.exp(logits - logits.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def test_the_loss_of_the_model_is_minimised_and_recorded() -> None:
    x, y = examples()
    model = Weighted((FEATURES,), CLASSES, 0, weight=0.1)
    epoch, less = step(model)
    slope = (softmax(np.zeros((ROWS, CLASSES))) - np.eye(CLASSES)[y]) * WEIGHTS[y][:, None]
    assert less["weight"] == pytest.approx(x.T @ slope / ROWS, abs=1e-6)
    assert less["bias"] == pytest.approx(slope.sum(0) / ROWS, abs=1e-6)
    assert epoch.loss == pytest.approx(math.log(CLASSES) * WEIGHTS[y].mean(), rel=1e-6)
    logits = x[:50] @ model.weights["weight"].numpy() + model.weights["bias"].numpy()
    losses = -np.log(softmax(logits)[range(50), y[:50]])
    assert epoch.val_loss == pytest.approx((losses * WEIGHTS[y[:50]]).mean(), rel=1e-5)
    found = judge(model, prepared(model, x[:50]), tf.constant(y[:50].astype(np.int32)))[1]
    assert found == pytest.approx(losses, rel=1e-5), "a test loss is in nats, whatever was trained"


def test_a_penalty_is_added_to_the_mean_loss() -> None:
    _, alone = step(LogisticRegression((FEATURES,), CLASSES, 0, weight=0.1))
    _, less = step(Sparse((FEATURES,), CLASSES, 0, weight=0.1))
    assert less["weight"] - alone["weight"] == pytest.approx(0.1, abs=1e-6)
    assert less["bias"] == pytest.approx(alone["bias"], abs=1e-6)
    plain, ridge = (MLP((FEATURES,), CLASSES, 3, hidden=[4], l2=l2) for l2 in (0.0, 0.3))
    initial = {name: one.numpy() for name, one in ridge.weights.items()}
    (_, alone), (_, less) = step(plain), step(ridge)
    for name, weight in initial.items():
        expected = 0.3 * weight if name.startswith("weight") else np.zeros_like(weight)
        assert less[name] - alone[name] == pytest.approx(expected, abs=1e-6)


def test_what_is_trained_otherwise_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, model in (("weighted", Weighted), ("sparse", Sparse)):
        monkeypatch.setitem(MODELS._entries, name, model)  # type: ignore[arg-type]
        assert not is_exact("portable", name)
        assert promise("portable", name, "sgd", "constant") == "x86-64 with AVX2"
    assert is_exact("portable", "logistic_regression")


WRONG: dict[str, tuple[Callable[[tf.Tensor, tf.Tensor], Any], str]] = {
    "one number": (
        lambda logits, y: tf.reduce_mean(logits),
        "the model's loss is float32 of the shape (): it must be float32 of the shape (n,)",
    ),
    "one for each class": (
        lambda logits, y: logits**2,
        "the model's loss is float32 of the shape (n, 3): it must be float32 of the shape (n,)",
    ),
    "float64": (
        lambda logits, y: tf.cast(tf.reduce_sum(logits, 1), tf.float64),
        "the model's loss is float64 of the shape (n,): it must be float32 of the shape (n,)",
    ),
    "of the labels alone": (
        lambda logits, y: tf.cast(y, tf.float32),
        "the model's loss is not computed from the logits, so nothing is learned",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_loss_that_is_none_is_refused(case: str) -> None:
    loss, sentence = WRONG[case]

    class Own(LogisticRegression):
        def loss(self, logits: tf.Tensor, y: tf.Tensor) -> Any:
            return loss(logits, y)

    with pytest.raises(UserError) as caught:
        step(Own((FEATURES,), CLASSES, 0))
    assert str(caught.value).startswith(sentence)


NO_MODEL: dict[str, tuple[Callable[[Model, tf.Tensor], Any], str]] = {
    "nothing returned": (
        lambda model, x: None,
        "Own gives NoneType: `__call__` must return the logits",
    ),
    "a weight of float64": (
        lambda model, x: model.weights.update(bias=tf.zeros(CLASSES, tf.float64)) or x[:, :CLASSES],
        "Own has the weight 'bias' of float64: use float32",
    ),
    "weights of no influence": (
        lambda model, x: tf.stop_gradient(x @ model.weights["weight"]),
        "Own computes its logits from none of the arrays in `self.weights` that can be trained",
    ),
}


@pytest.mark.parametrize("case", NO_MODEL)
def test_a_model_that_would_learn_nothing_is_refused(case: str) -> None:
    call, sentence = NO_MODEL[case]

    class Own(LogisticRegression):
        exact = False

        def __call__(self, x: tf.Tensor) -> Any:
            return call(self, x)

    with pytest.raises(UserError) as caught:
        step(Own((FEATURES,), CLASSES, 0))
    assert str(caught.value).startswith(sentence)


def test_a_model_derives_from_model_and_has_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(Model):
        def __init__(self, *given: Any, weights: Any = None):
            if weights is not None:
                self.weights = weights

    monkeypatch.setattr(MODELS, "_entries", dict(MODELS))
    for other in (object, len):
        with pytest.raises(UserError, match="'own' must be a class that derives from Model"):
            MODELS["own"] = other  # type: ignore[assignment]
    MODELS["own"] = Own
    variable = tf.Variable(1.0)
    for wrong in (None, {}, {"w": np.ones(1)}, {"w": tf.ones(1)}, [variable]):
        with pytest.raises(UserError, match="model own: has no weights to train: `self"):
            make("own", (FEATURES,), CLASSES, 0, {"weights": wrong}, exact=False)
    assert make("own", (FEATURES,), CLASSES, 0, {"weights": {"w": variable}}, exact=False)


def test_a_penalty_is_one_number() -> None:
    class Own(LogisticRegression):
        def penalty(self) -> Any:
            return self.weights["bias"] ** 2

    with pytest.raises(UserError, match=r"penalty has the shape \(3,\): it must be one number"):
        step(Own((FEATURES,), CLASSES, 0))


@pytest.mark.parametrize("draw", ["dropout", "normal", "generator"])
def test_numbers_that_a_resumed_training_would_not_draw_are_refused(draw: str) -> None:
    generator = tf.random.Generator.from_seed(1)

    class Own(LogisticRegression):
        exact = False

        def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
            noise = {
                "dropout": lambda: tf.nn.dropout(x, 0.5),
                "normal": lambda: x + tf.random.normal(tf.shape(x)),
                "generator": lambda: x + generator.uniform(tf.shape(x)),
            }
            return super().__call__(noise[draw]() if training else x)

    with pytest.raises(UserError, match=r"Own draws random numbers by \w+, which would be others"):
        step(Own((FEATURES,), CLASSES, 0))


def test_numbers_drawn_by_the_seed_of_the_block_are_repeated() -> None:
    class Own(LogisticRegression):
        exact = False

        def __call__(
            self, x: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None
        ) -> tf.Tensor:
            if training:
                x = tf.nn.experimental.stateless_dropout(x, 0.5, seed)
            return super().__call__(x)

    (first, less), (second, again) = (step(Own((FEATURES,), CLASSES, 0)) for _ in range(2))
    assert first == second
    assert less["weight"].tobytes() == again["weight"].tobytes()
    _, without = step(LogisticRegression((FEATURES,), CLASSES, 0))
    assert np.abs(less["weight"] - without["weight"]).max() > 0.01


def test_a_weight_without_influence_stays_and_a_row_that_is_looked_up_is_trained() -> None:
    class Own(LogisticRegression):
        """The gradient of a row that is looked up is no whole array in TensorFlow."""

        exact = False

        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.gather(self.weights["weight"], tf.argmax(x, 1))

    x, y = examples()
    _, less = step(Own((FEATURES,), CLASSES, 0))
    assert not less["bias"].any()
    slope = (np.full((ROWS, CLASSES), 1 / 3) - np.eye(CLASSES)[y]) / ROWS
    expected = np.zeros((FEATURES, CLASSES))
    np.add.at(expected, x.argmax(1), slope)
    assert less["weight"] == pytest.approx(expected, abs=1e-6)
