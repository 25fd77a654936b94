"""The models: `MODELS` maps the name in a file of conf/model/ to its class, here or in own/models/.

A model is called with a batch and gives logits; its keyword-only arguments are the options of its
YAML file, checked against their annotations before TensorFlow is imported.
"""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.errors import UserError
from pipeline.modelling.keras_model import KerasModel
from pipeline.modelling.model import Model, linear
from pipeline.registry import Registry

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

__all__ = ["MODELS", "KerasModel", "Model", "is_exact", "linear", "make"]

Units = Annotated[int, Field(ge=1, le=65_536)]
Strength = Annotated[float, Field(ge=0, le=1e6)]


class LogisticRegression(Model):
    """Multinomial logistic (softmax) regression: logits = x W + b.

    Parameters
    ----------
    weight, bias : float
        Initial values, the same for every seed.
    l2 : float
        Weight of the penalty: l2 / 2 times the squares of the weights is added to the mean loss.

    References
    ----------
    Bishop, Pattern Recognition and Machine Learning (2006), section 4.3.4.
    """

    exact = True

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        seed: int,
        *,
        weight: float = 1.0,
        bias: float = 0.0,
        l2: Strength = 0.0,
    ):
        import tensorflow as tf

        self.l2 = l2
        self.weight = tf.Variable(tf.fill([math.prod(shape), classes], weight), name="weight")
        self.bias = tf.Variable(tf.fill([classes], bias), name="bias")
        self.weights = {"weight": self.weight, "bias": self.bias}

    def __call__(self, x: "tf.Tensor") -> "tf.Tensor":
        """Return the logits, (n, classes)."""
        return linear(x, self.weights["weight"], self.weights["bias"])


class MLP(Model):
    """A multilayer perceptron: dense layers with ReLU between them.

    The initial weights are uniform with variance 2 / fan-in, and the biases are zero. Normal
    numbers would depend on the exp and log1p of the C library.

    Parameters
    ----------
    hidden : list of int
        Units of each hidden layer.
    l2 : float
        As for logistic regression, over the weights of all layers.

    References
    ----------
    He et al., Delving Deep into Rectifiers (2015), for the initial weights.
    """

    exact = True

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        seed: int,
        *,
        hidden: list[Units],
        l2: Strength = 0.0,
    ):
        import tensorflow as tf

        self.l2 = l2
        generator = np.random.default_rng(seed)
        self.layers = len(hidden) + 1
        self.weights = {}
        for number, (rows, columns) in enumerate(pairwise([math.prod(shape), *hidden, classes])):
            values = (2 * generator.random((rows, columns)) - 1) * np.sqrt(6 / rows)
            for kind, value in (("weight", values), ("bias", np.zeros(columns))):
                name = f"{kind}_{number}"
                self.weights[name] = tf.Variable(value.astype(np.float32), name=name)

    def __call__(self, x: "tf.Tensor") -> "tf.Tensor":
        """Return the logits, (n, classes)."""
        import tensorflow as tf

        for number in range(self.layers):
            x = tf.nn.relu(x) if number else x
            x = linear(x, self.weights[f"weight_{number}"], self.weights[f"bias_{number}"])
        return x


class CNN(KerasModel):
    """A small convolutional network: 3 x 3 convolutions, each with ReLU and 2 x 2 max-pooling."""

    def layers(
        self,
        shape: tuple[int, ...],
        classes: int,
        *,
        filters: list[Units],
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> "list[keras.Layer]":
        """Return the layers.

        Parameters
        ----------
        filters : list of int
            How many each convolution has.
        dropout : float
            The share of the dense layer's inputs that a step of training leaves out.

        Raises
        ------
        UserError
            If an example is not an image.
        """
        from keras import layers

        if len(shape) != 3:
            raise UserError(
                f"model cnn needs images, not examples of the shape {shape}: choose another model"
            )
        found = []
        for number in filters:
            found.append(layers.Conv2D(number, 3, padding="same", activation="relu"))
            found.append(layers.MaxPooling2D(padding="same"))
        return [*found, layers.Flatten(), layers.Dropout(dropout), layers.Dense(classes)]


MODELS: Registry[type[Model]] = Registry(
    "models", {"cnn": CNN, "logistic_regression": LogisticRegression, "mlp": MLP}, base=Model
)


def make(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    seed: int,
    options: dict[str, Any],
    *,
    exact: bool,
) -> Model:
    """Return a model of the table, with its initial weights.

    Raises
    ------
    UserError
        If it has no weights, or they are not variables by name.
    """
    import tensorflow as tf

    model = MODELS[name](shape, classes, seed, **options)
    weights = getattr(model, "weights", None) or {}
    named = weights.values() if isinstance(weights, dict) else ()
    if not named or not all(isinstance(one, tf.Variable) for one in named):
        raise UserError(
            f"model {name}: has no weights to train: `self.weights` must map names to tf.Variables"
        )
    model.exact, model.classes = exact, classes
    return model


def is_exact(determinism: str, model: str) -> bool:
    """Tell whether a model computes with the operations of pipeline/exact."""
    return determinism == "portable" and MODELS[model].exact
