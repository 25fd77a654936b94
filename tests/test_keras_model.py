"""Models of Keras layers: names, state, randomness, and what is said of layers that do not fit."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.description import Description, Scale
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.learning import determinism, weights
from pipeline.settings.schema import Choice, Config
from pipeline.tracking.served_model import Classifier
from tests.conftest import Project
from tests.test_contract import (
    Composed,
    bits,
    composed,  # noqa: F401  # a fixture
    gradients_are_right,
    same_bits_in_all_ways,
    saved_is_restored,
)
from tests.test_tracking import promised, runs

determinism.enable(seed=0)

import keras  # noqa: E402  # after the settings that decide its bits
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

from pipeline.learning.inference import probabilities  # noqa: E402
from pipeline.learning.training import train  # noqa: E402
from pipeline.modelling.logits import logits_of  # noqa: E402
from pipeline.modelling.step import block_seed  # noqa: E402
from pipeline.models import CNN, MODELS, KerasModel, make  # noqa: E402
from pipeline.optimizers import sgd  # noqa: E402

SHAPE = 8, 6


class Noisy(keras.Layer):
    """A layer with weights that have no name, and noise of its own."""

    def build(self, shape: Any) -> None:
        self.seeds = keras.random.SeedGenerator()
        self.scale, self.shift = (
            self.add_weight(shape=shape[-1:], initializer=kind) for kind in ("ones", "zeros")
        )

    def call(self, x: Any, training: bool = False) -> Any:
        noise = keras.random.normal((x.shape[-1],), seed=self.seeds) if training else 0.0
        return x * self.scale + self.shift + 0.1 * noise


class Mixed(KerasModel):
    """Layers with state, with randomness, within others, and with a penalty."""

    def layers(self, shape: tuple[int, ...], classes: int, *, rate: float = 0.3) -> list[Any]:
        dense = layers.Dense(7, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.01))
        return [
            layers.BatchNormalization(),
            layers.Conv2D(3, 3, strides=2, use_bias=False),
            keras.Sequential([layers.Flatten(), layers.Dropout(rate), dense]),
            Noisy(),
            layers.Dropout(rate),
            layers.Dense(classes),
        ]


@pytest.fixture
def mixed(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> Config:  # noqa: F811
    monkeypatch.setitem(MODELS._entries, "mixed", Mixed)  # type: ignore[arg-type]
    return composed(optimizer="adam").model_copy(update={"model": Choice(name="mixed")})


def made(of: type[KerasModel], seed: int = 0, **options: Any) -> KerasModel:
    model = of(SHAPE, 4, seed, **options)
    model.classes = 4
    return model


def examples(rows: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    x = generator.random((rows, SHAPE[0] * SHAPE[1]), np.float32)
    return x, generator.integers(0, 4, rows).astype(np.uint8)


def step(model: Any, rows: int = 200, batch_size: int | None = None) -> list[Any]:
    x, y = examples(rows)
    options: dict[str, Any] = {"epochs": 1, "batch_size": batch_size, "seed": 0}
    return list(train(model, sgd(0.1), (x, y), (x[:0], y[:0]), **options))


def test_state_and_randomness_keep_the_contract(
    mixed: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same_bits_in_all_ways(mixed, monkeypatch)
    gradients_are_right(mixed)
    saved_is_restored(mixed, tmp_path)


def test_names_and_bits_do_not_depend_on_what_was_built_before() -> None:
    """Nor on the user's settings, which stay as they were, as do the generators."""
    first = made(Mixed, 3)
    assert list(first.weights) == [
        *("0_gamma", "0_beta", "1_kernel", "2_kernel", "2_bias"),
        *("3_variable", "3_variable_1", "5_kernel", "5_bias"),
    ]
    assert list(first.state) == ["0_moving_mean", "0_moving_variance"]
    assert made(Mixed, 4).weights["1_kernel"].shape == (3, 3, 1, 3)
    settings = keras.config.floatx(), keras.config.image_data_format()
    try:
        keras.config.set_floatx("float64")
        keras.config.set_image_data_format("channels_first")
        state = random.getstate()
        second = made(Mixed, 3)
        assert random.getstate() == state
        assert keras.config.floatx() == "float64"
        assert keras.config.image_data_format() == "channels_first"
        step(second)
    finally:
        keras.config.set_floatx(settings[0])
        keras.config.set_image_data_format(settings[1])
    step(first)
    assert list(bits(second).items()) == list(bits(first).items())
    assert bits(made(Mixed, 4)) != bits(made(Mixed, 3))


def test_batch_normalisation_sees_the_whole_batch() -> None:
    model = made(Mixed)
    x, _ = examples(200)
    step(model)
    mean = model.state["0_moving_mean"].numpy()
    assert mean == pytest.approx(0.01 * x.mean(), rel=1e-5)
    spread = model.state["0_moving_variance"].numpy()
    assert spread == pytest.approx(0.99 + 0.01 * x.var(), rel=1e-5)


def test_each_block_of_each_step_has_noise_of_its_own() -> None:
    model, x = made(Mixed, rate=0.5), tf.ones((32, 48))

    def noisy(*place: int) -> bytes:
        return logits_of(model, x, training=True, seed=block_seed(*place)).numpy().tobytes()

    places = [(0, 0, 0), (1, 0, 0), (2**32 - 1, 0, 0), (0, 1, 0), (0, 0, 64), (0, 64, 0)]
    assert len({noisy(*place) for place in places}) == len(places)
    assert noisy(0, 1, 0) == noisy(0, 1, 0)
    assert np.ptp(logits_of(model, x).numpy(), 0).max() < 1e-5
    masks = logits_of(model, x, training=True, seed=block_seed(0, 0, 0)).numpy()
    assert len(np.unique(masks, axis=0)) > 20


def test_what_is_frozen_is_kept_and_not_trained() -> None:
    class Frozen(KerasModel):
        def layers(self, shape: tuple[int, ...], classes: int) -> list[Any]:
            fixed = layers.Dense(5)
            fixed.trainable = False
            return [layers.Flatten(), fixed, layers.Dense(classes)]

    model, before = made(Frozen), bits(made(Frozen))
    step(model)
    assert [name for name in before if bits(model)[name] == before[name]] == ["1_kernel", "1_bias"]
    assert list(model.weights) == ["2_kernel", "2_bias"]


def test_a_batch_of_several_blocks_is_trained_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch has 32 rows: the second block of it would be empty."""
    in_blocks, at_once = (made(CNN, filters=[3]) for _ in range(2))
    (epoch,) = step(in_blocks, rows=160, batch_size=128)
    monkeypatch.setattr("pipeline.modelling.step.LEAST", 128)
    (expected,) = step(at_once, rows=160, batch_size=128)
    assert epoch.loss == pytest.approx(expected.loss, rel=1e-5)
    for one, other in zip(in_blocks.weights.values(), at_once.weights.values(), strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), abs=1e-5)


def test_the_served_model_answers_as_the_trained_one(mixed: Config, tmp_path: Path) -> None:
    model = make("mixed", SHAPE, 4, 5, {"rate": 0.1}, exact=False)
    step(model)  # which moves its state
    weights.save(model, tmp_path / "weights.npz")
    described = Description(
        name="tiny",
        shape=SHAPE,
        classes=[*"abcd"],
        features=None,
        scale=Scale(kind="bytes"),
        hashes={},
    )
    (tmp_path / "dataset.json").write_text(described.text(), encoding="utf-8")
    (tmp_path / "model.json").write_text(
        '{"name": "mixed", "rate": 0.1, "exact": false}', encoding="utf-8"
    )
    x, _ = examples(40)
    answer = Classifier(tmp_path).predict(x.reshape(-1, *SHAPE))
    assert answer.tobytes() == probabilities(model, x).tobytes()


@pytest.mark.slow
def test_the_stages_with_a_convolutional_network(reproduced: Project) -> None:
    """Each in a process of its own, which has not imported anything; verify in a clone."""
    reproduced.edit("params.yaml", "model: logistic_regression", "model: cnn")
    assert reproduced.repro(COLD="1") == ["train", "evaluate", "plot"]
    first = sha256(reproduced / "models/weights.npz")
    assert promised(reproduced) == "x86-64 with AVX2"
    (reproduced / "models/weights.npz").unlink()
    reproduced.stage("train", COLD="1")
    assert sha256(reproduced / "models/weights.npz") == first
    (run, *_) = runs(reproduced)
    program = (
        "import mlflow, numpy as np\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        f"model = mlflow.pyfunc.load_model('runs:/{run.info.run_id}/model')\n"
        "print(*model.predict(np.load('data/processed/x_test.npy')).argmax(1))"
    )
    done = reproduced.run(sys.executable, "-c", program, COLD="1")
    table = (reproduced / "metrics/predictions.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert done.stdout.split() == [row.split(",")[1] for row in table]
    reproduced.commit()
    verify = reproduced.run("python", "-m", "pipeline.verify", COLD="1").stdout
    assert "\nPromised  the same bits on x86-64 with AVX2\n" in verify
    assert "results are identical, bit for bit." in verify


class Unseeded(keras.Layer):
    def call(self, x: Any, training: bool = False) -> Any:
        return keras.random.dropout(x, 0.5) if training else x


REFUSED: dict[str, tuple[Callable[[int], list[Any]], str]] = {
    "logits of 5 classes": (
        lambda classes: [layers.Flatten(), layers.Dense(classes + 1)],
        "Own gives logits of the shape (n, 5), not (n, 4)",
    ),
    "logits that are images": (
        lambda classes: [layers.Conv2D(classes, 3, padding="same")],
        "Own gives logits of the shape (n, 8, 6, 4), not (n, 4)",
    ),
    "probabilities": (
        lambda classes: [layers.Flatten(), layers.Dense(classes, activation="softmax")],
        "Own: ends in a softmax, which training takes anyhow: leave it out, as logits are needed",
    ),
    "probabilities of a whole network": (
        lambda classes: [
            keras.Sequential([layers.Flatten(), layers.Dense(classes), layers.Softmax()])
        ],
        "Own: ends in a softmax, ",
    ),
    "nothing to train": (
        lambda classes: [layers.Flatten(), layers.Activation("relu")],
        "model own: has no weights to train",
    ),
    "no layers": (lambda classes: [], "Own: Sequential model "),
    "an image that is too small": (
        lambda classes: [layers.Conv2D(2, 9), layers.Flatten(), layers.Dense(classes)],
        "Own: Computed output size would be zero or negative. Received `inputs shape=(None, 8, 6",
    ),
    "no list": (layers.Dense, "Own: 'Dense' object is not iterable"),
    "numbers that no layer draws": (
        lambda classes: [layers.Flatten(), Unseeded(), layers.Dense(classes)],
        "Own: changes a variable that belongs to none of its layers: random numbers need ",
    ),
    "a loss that is added": (
        lambda classes: [layers.Flatten(), layers.Dense(classes, activity_regularizer="l2")],
        "Own: a layer adds a loss or regularizes its activity, which is not part of the training",
    ),
    "half precision": (
        lambda classes: [layers.Flatten(), layers.Dense(classes, dtype="float16")],
        "Own gives logits of float16: they must be float32",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layers_that_do_not_fit_are_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    give, sentence = REFUSED[case]

    class Own(KerasModel):
        def layers(self, shape: tuple[int, ...], classes: int) -> list[Any]:
            return give(classes)

    monkeypatch.setitem(MODELS._entries, "own", Own)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        step(make("own", SHAPE, 4, 0, {}, exact=False))  # type: ignore[arg-type]
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_the_network_for_images_refuses_a_table() -> None:
    with pytest.raises(UserError, match=r"model cnn needs images, not examples of the shape \(30,"):
        CNN((30,), 2, 0, filters=[4])
