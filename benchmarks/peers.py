"""The loops that `benchmarks.training` times; `python -m benchmarks.peers NAME` runs one.

Each line on standard input is a number of epochs; each line on standard output the seconds they
took. The pipeline has its pinned threads and kernels, the others have their libraries' defaults.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.learning import determinism
from pipeline.settings.schema import Mode

BATCH, RATE = 256, 0.1
HELD_OUT = 5000  # as in params.yaml; the loops on full batches use all rows, as the tutorial does
Run = Callable[[int], float]  # takes a number of epochs, gives the seconds they took


def examples(mapped: Literal["c"] | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Return x, float32 (60000, 784), y, uint8 (60000,), and what data they are."""
    folder = Path("data/processed")
    if (folder / "y_train.npy").exists():
        x, y = (np.load(folder / f"{name}_train.npy", mapped) for name in "xy")
        return x, y, "MNIST"
    generator = np.random.default_rng(0)
    x, y = generator.random((60_000, 784), np.float32), generator.integers(10, size=60_000)
    return x, y.astype(np.uint8), "generated data (data/processed is not there)"


def timed(epoch: Callable[[], Any]) -> Run:
    """Return a function that calls `epoch` so many times, and returns the seconds."""

    def run(epochs: int) -> float:
        start = time.perf_counter()
        for _ in range(epochs):
            epoch()
        return time.perf_counter() - start

    return run


def pipeline(
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int | None = BATCH,
    mode: Mode = "portable",
    **options: Any,
) -> Run:
    """Return the project's own loop with a validation after each epoch, which is the default."""
    exact = mode == "portable"
    determinism.enable(0, mode, exact=exact)
    from pipeline import models, optimizers
    from pipeline.learning import training

    x, y, _ = examples("c")  # mapped, as the train stage has them
    rows = len(x) - (HELD_OUT if batch_size else 0)
    name = "mlp" if options else "logistic_regression"
    model = models.make(name, x.shape[1:], 10, 0, options, exact=exact)
    epochs = training.train(
        model,
        optimizers.sgd(RATE),
        (x[:rows], y[:rows]),
        (x[rows:], y[rows:]),
        epochs=10**9,
        batch_size=batch_size,
        seed=0,
    )
    return timed(lambda: next(epochs))


def pipeline_full(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the project's own loop on full batches."""
    return pipeline(x, y, None)


def machine(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the project's own loop with determinism=machine."""
    return pipeline(x, y, mode="machine")


def machine_full(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the same on full batches."""
    return pipeline(x, y, None, "machine")


def off(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the project's own loop with determinism=off."""
    return pipeline(x, y, mode="off")


def off_full(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the same on full batches."""
    return pipeline(x, y, None, "off")


def mlp(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the project's own loop on a hidden layer of 128 units."""
    return pipeline(x, y, hidden=[128])


def mlp_machine(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the same with determinism=machine."""
    return pipeline(x, y, mode="machine", hidden=[128])


def keras_fit(x: np.ndarray, y: np.ndarray) -> Run:
    """Return `Model.fit` with `validation_data`, timed within `fit`, without its start."""
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.Input((784,)), tf.keras.layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.SGD(RATE), loss, metrics=["accuracy"])

    def run(epochs: int) -> float:
        times = []
        clock = tf.keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: times.append(-time.perf_counter()),
            on_epoch_end=lambda epoch, logs: times.append(time.perf_counter()),
        )
        model.fit(
            x[:-HELD_OUT],
            y[:-HELD_OUT],
            batch_size=BATCH,
            epochs=epochs + 1,  # the first makes the iterators
            verbose=0,
            validation_data=(x[-HELD_OUT:], y[-HELD_OUT:]),
            callbacks=[clock],
        )
        return sum(times[2:])

    return run


def tutorial() -> tuple[Callable[..., Any], ...]:
    """Return the tutorial's functions: predict, loss, step. Zero weights keep `exp` finite."""
    import tensorflow as tf

    variables = [tf.Variable(tf.zeros([784, 10])), tf.Variable(tf.zeros([10]))]
    optimizer = tf.keras.optimizers.SGD(RATE)

    def predict(x: Any) -> Any:
        exponentials = tf.exp(tf.matmul(x, variables[0]) + variables[1])
        return exponentials / tf.reduce_sum(exponentials, 1, keepdims=True)

    def cross_entropy(predicted: Any, y: Any) -> Any:
        logarithms = tf.math.log(tf.clip_by_value(predicted, 1e-9, 1.0))
        return tf.reduce_mean(-tf.reduce_sum(tf.one_hot(y, 10) * logarithms, 1))

    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = cross_entropy(predict(x), y)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return predict, cross_entropy, step


def tutorial_chain(x: np.ndarray, y: np.ndarray) -> Run:
    """Return eager steps on the batches of the tutorial's tf.data chain."""
    import tensorflow as tf

    *_, step = tutorial()
    x, y = x[:-HELD_OUT], y[:-HELD_OUT]
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(5000).batch(BATCH).prefetch(1)
    return timed(lambda: [step(*batch) for batch in dataset])


def tutorial_full(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the tutorial's loop as written: arrays converted in each step, two forward passes."""
    import tensorflow as tf

    predict, cross_entropy, step = tutorial()

    def epoch() -> tuple[float, float]:
        step(x, y)
        predicted = predict(x)
        correct = tf.equal(tf.argmax(predicted, 1), tf.cast(y, tf.int64))
        return float(cross_entropy(predicted, y)), float(tf.reduce_mean(tf.cast(correct, "float")))

    return timed(epoch)


def numpy_loop(x: np.ndarray, y: np.ndarray) -> Run:
    """Return softmax regression as one writes it with NumPy."""
    x, y = x[:-HELD_OUT], y[:-HELD_OUT]
    weight, bias = np.zeros((784, 10), np.float32), np.zeros(10, np.float32)
    generator = np.random.default_rng(0)

    def epoch() -> tuple[float, int]:
        order, loss, correct = generator.permutation(len(x)), 0.0, 0
        for start in range(0, len(x), BATCH):
            batch, labels = x[order[start : start + BATCH]], y[order[start : start + BATCH]]
            logits = batch @ weight + bias
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            rows = np.arange(len(batch))
            loss -= float(np.log(p[rows, labels]).sum())
            correct += int((p.argmax(1) == labels).sum())
            p[rows, labels] -= 1
            weight[:] -= RATE / len(batch) * (batch.T @ p)
            bias[:] -= RATE / len(batch) * p.sum(0)
        return loss, correct

    return timed(epoch)


def floor(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the least that a loop must do: gather the rows and compute two products a batch."""
    x = x[:-HELD_OUT]
    order = np.random.default_rng(0).permutation(len(x))
    weight, delta = np.zeros((784, 10), np.float32), np.zeros((BATCH, 10), np.float32)
    buffer = np.empty((BATCH, 784), np.float32)

    def epoch() -> None:
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            batch = np.take(x, rows, 0, out=buffer[: len(rows)], mode="clip")  # "raise" copies
            batch @ weight
            batch.T @ delta[: len(rows)]

    return timed(epoch)


def floor_full(x: np.ndarray, y: np.ndarray) -> Run:
    """Return the two products of the full batch, which NumPy computes on all cores."""
    weight, delta = np.zeros((784, 10), np.float32), np.zeros((len(x), 10), np.float32)

    def epoch() -> None:
        x @ weight
        x.T @ delta

    return timed(epoch)


if __name__ == "__main__":
    run = globals()[sys.argv[1]](*examples()[:2])
    for line in sys.stdin:
        print(run(int(line)), flush=True)
