"""Graphs of TensorFlow, made where no signal interrupts it."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import Any, TypeVar

Made = TypeVar("Made")


def graph(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Return a function of tensors as a graph, for arguments of the types and shapes of these.

    Unlike `tf.function`, it is traced now, and never again. It is traced and called `apart`.

    Parameters
    ----------
    function : callable
    *arguments : tensor or TensorSpec
    """
    import tensorflow as tf

    traced = tf.function(function, autograph=False).get_concrete_function
    return partial(apart, apart(traced, *arguments))


def apart(make: Callable[..., Made], *arguments: Any) -> Made:
    """Call `make` beside the main thread, wait for its end, and return what it returns.

    Python handles signals in the main thread. If Ctrl-C raised an exception in the midst of
    TensorFlow's tracing, its C++ would make another error of it, leave eager mode or crash.
    """
    if threading.current_thread() is not threading.main_thread():
        return make(*arguments)
    made = _thread().submit(make, *arguments)
    try:
        return made.result()
    finally:
        wait([made])


@cache
def _thread() -> ThreadPoolExecutor:
    """Return the thread, the same for all graphs: TensorFlow looks kernels up once in each."""
    return ThreadPoolExecutor(1)
