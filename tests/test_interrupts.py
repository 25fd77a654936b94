"""Ctrl-C while TensorFlow works ends a training as an interruption, and leaves TensorFlow whole."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from pipeline.learning import determinism

determinism.enable(seed=0)

import tensorflow as tf  # noqa: E402  # after the settings that decide its bits

from pipeline.learning.training import train  # noqa: E402
from pipeline.models import LogisticRegression  # noqa: E402
from pipeline.optimizers import sgd  # noqa: E402

ROWS, FEATURES, CLASSES = 200, 8, 3
INTERRUPTS = 100  # without a thread of its own for TensorFlow, two or three did harm


def go(model: LogisticRegression, epochs: int) -> list[float]:
    """Train, and return the losses."""
    generator = np.random.default_rng(0)
    x = generator.random((ROWS, FEATURES), np.float32)
    y = generator.integers(0, CLASSES, ROWS).astype(np.uint8)
    sets = (x[:160], y[:160]), (x[160:], y[160:])
    return [
        epoch.loss for epoch in train(model, sgd(0.1), *sets, epochs=epochs, batch_size=16, seed=0)
    ]


def made() -> LogisticRegression:
    model = LogisticRegression((FEATURES,), CLASSES, 0)
    model.exact = True
    return model


class Interrupting(LogisticRegression):
    """A model in the middle of which Ctrl-C is pressed."""

    def __init__(self) -> None:
        super().__init__((FEATURES,), CLASSES, 0)
        self.done: list[str] = []

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        logits = super().__call__(x)
        self.done.append("a call")
        return logits


def test_an_interruption_waits_until_the_graph_is_made() -> None:
    expected = go(made(), 2)
    model = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        go(model, 2)
    assert model.done
    assert tf.executing_eagerly()
    assert go(made(), 2) == expected


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Press Ctrl-C after a time, by the timer of pytest-timeout, which is set again afterwards."""
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.slow
def test_interruptions_at_random_moments() -> None:
    expected = go(made(), 2)
    started = time.monotonic()
    go(made(), 1)
    taken = time.monotonic() - started
    moments, ends = np.random.default_rng(1), Counter[str]()
    for _ in range(INTERRUPTS):
        try:
            with interrupted_after(moments.uniform(0.001, 1.2 * taken)):
                go(made(), 1_000_000)
        except BaseException as error:
            ends[type(error).__name__] += 1
        assert tf.executing_eagerly(), ends
    assert ends == {"KeyboardInterrupt": INTERRUPTS}
    assert go(made(), 2) == expected
