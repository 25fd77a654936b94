"""A model made of Keras layers."""

import inspect
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError, first_line
from pipeline.modelling.model import Model

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class KerasModel(Model):
    """Keras layers, one after the other; the keyword-only arguments of `layers` are its options.

    A weight is named by the number of its layer and its name in the layer, such as `0_kernel`.
    Names and bits do not depend on what the process has built before.

    Raises
    ------
    UserError
        If the layers do not fit the examples or each other, or end in a softmax.
    """

    def __init_subclass__(cls) -> None:
        """Let the options be those of `layers`."""
        super().__init_subclass__()
        cls.__signature__ = inspect.signature(cls.layers)  # type: ignore[attr-defined]

    def __init__(self, shape: tuple[int, ...], classes: int, seed: int, **options: Any):
        self.shape = (*shape, 1) if len(shape) == 2 else shape
        with _defaults(), _seeded(seed):
            import keras

            try:
                self.network = keras.Sequential(self.layers(self.shape, classes, **options))
                self.network.build((None, *self.shape))
            except (TypeError, ValueError) as error:
                raise UserError(f"{type(self).__name__}: {first_line(error)}") from error
            if _ends_in_softmax(self.network):
                raise UserError(
                    f"{type(self).__name__}: ends in a softmax, which training takes anyhow: leave "
                    "it out, as logits are needed"
                )
        named = _named(self.network)
        trained = {id(one) for one in self.network.trainable_variables}
        self._trained = {name: one for name, one in named.items() if id(one) in trained}
        self._kept = {name: one for name, one in named.items() if id(one) not in trained}
        known = {id(one) for one in named.values()}
        self._seeds = [one for one in self.network.variables if id(one) not in known]
        self.weights = {name: one.value for name, one in self._trained.items()}
        self.state = {name: one.value for name, one in self._kept.items()}

    def layers(
        self, shape: tuple[int, ...], classes: int, *args: Any, **options: Any
    ) -> "list[keras.Layer]":
        """Return the layers, from examples of a shape to `classes` logits.

        Images have the shape (rows, columns, channels), with one channel if they are grey.
        """
        raise NotImplementedError

    def __call__(
        self, x: "tf.Tensor", training: bool = False, seed: "tf.Tensor | None" = None
    ) -> "tf.Tensor":
        """Return the logits, float32 (n, classes), of x, float32 (n, features).

        Raises
        ------
        UserError
            If a layer changes a variable that no checkpoint would hold, or adds a loss.
        """
        import keras
        import tensorflow as tf

        values = [(one, self.weights[name]) for name, one in self._trained.items()]
        values += [(one, self.state[name]) for name, one in self._kept.items()]
        for number, one in enumerate(self._seeds):
            drawn = one if seed is None else tf.random.fold_in(seed, tf.constant(number, tf.int64))
            values.append((one, drawn))
        with _defaults(), keras.StatelessScope(values, collect_losses=True) as scope:
            logits = self.network(tf.reshape(x, [-1, *self.shape]), training=training)
        if len(scope.state_mapping) > len(values):
            raise UserError(
                f"{type(self).__name__}: changes a variable that belongs to none of its layers: "
                "random numbers need `seed=self.seeds` and, in the layer, "
                "`self.seeds = keras.random.SeedGenerator()`"
            )
        if scope.losses:
            raise UserError(
                f"{type(self).__name__}: a layer adds a loss or regularizes its activity, which is "
                "not part of the training: override `loss` or `penalty` of the model"
            )
        if training:
            for name, one in self._kept.items():
                self.state[name].assign(scope.get_current_value(one))
        return logits

    def penalty(self) -> "tf.Tensor | None":
        """Return the sum of the layers' regularizers for weights, or None."""
        import tensorflow as tf

        terms = [one.regularizer(one.value) for one in self._trained.values() if one.regularizer]
        return tf.add_n(terms) if terms else None


def _named(network: "keras.Sequential") -> "dict[str, keras.Variable]":
    """Return the variables by the number and the name of `KerasModel`'s weights.

    Keras gives a variable without a name the number of such variables that the process has made.
    """
    found: dict[str, Any] = {}
    for position, layer in enumerate(network.layers):
        for number, one in enumerate(layer.weights):
            name = f"{position}_{re.sub(r'^variable_[0-9]+$', 'variable', one.name)}"
            found[f"{name}_{number}" if name in found else name] = one
    return found


def _ends_in_softmax(layer: Any) -> bool:
    import keras

    if isinstance(layer, keras.Model) and layer.layers:
        return _ends_in_softmax(layer.layers[-1])
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax


@contextmanager
def _defaults() -> Iterator[None]:
    """Let Keras compute by its own defaults, not by those of a user's keras.json."""
    from keras import config

    floats, order, policy = config.floatx(), config.image_data_format(), config.dtype_policy()
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    config.set_dtype_policy("float32")
    try:
        yield
    finally:
        config.set_floatx(floats)
        config.set_image_data_format(order)
        config.set_dtype_policy(policy)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's generator for a while: layers without a seed draw theirs from it."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
