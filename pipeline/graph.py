"""Graphs of TensorFlow, made where no signal interrupts it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

Made = TypeVar("Made")


def graph(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Return a function of tensors as a graph, for tensors such as these, or of these `TensorSpec`.

    Unlike `tf.function`, it is traced now, and never again. It is traced and called `apart`.
    """
    import tensorflow as tf

    traced = tf.function(function, autograph=False).get_concrete_function
    return partial(apart, apart(traced, *arguments))


def apart(make: Callable[..., Made], *arguments: Any) -> Made:
    """Return what `make` returns, called in a thread of its own, whose end is waited for.

    Python handles signals in the main thread. Were Ctrl-C to raise an exception while TensorFlow
    traces there, its C++ would make another error of that, leave eager mode or crash.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make, *arguments).result()
