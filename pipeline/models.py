"""The models: `MODELS` maps the name in a file of conf/model/ to its class, here or in own/models/.

A model is called with a batch and gives logits; its keyword-only arguments are the options of its
YAML file, checked against their annotations before TensorFlow is imported.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.registry import Registry

if TYPE_CHECKING:
    import tensorflow as tf


class Model:
    """Named weights, and logits computed from them.

    Attributes
    ----------
    weights : dict of str to tf.Variable
        The trained arrays, float32, by the name they have in weights.npz. The logits are computed
        from what is in this dict, which training fills with tensors in place of variables.
    exact : bool
        Whether it consists of the operations of pipeline/exact, which give the same bits on every
        machine. With `determinism: portable`, x is then as `linear` takes it, and the logits are
        float64.
    batch : tuple of int
        The axes of the logits between the examples and the classes, of several models as one.
    """

    weights: dict[str, "tf.Variable"]
    exact = False
    batch: tuple[int, ...] = ()

    def __init__(self, shape: tuple[int, ...], classes: int, seed: int, **options: Any):
        raise NotImplementedError

    def __call__(self, x: "tf.Tensor") -> "tf.Tensor":
        """Return the logits, (n, classes), of x, (n, features): float32 unless it is exact.

        The features are the values of an example, which has the model's `shape`, laid out flat. The
        call becomes part of a graph: conditions on tensors are `tf.where` or `tf.cond`.
        """
        raise NotImplementedError

    @staticmethod
    def pictures(
        weights: Mapping[str, NDArray[Any]], shape: tuple[int, ...]
    ) -> NDArray[np.float32] | None:
        """Return what `plot` shows of the trained arrays, or None for nothing.

        It needs no TensorFlow. Unless a model says otherwise, it is the first layer.

        Parameters
        ----------
        weights : mapping of str to array
            The arrays of weights.npz, in its order.
        shape : tuple of int
            Of an example.

        Returns
        -------
        array of float32 (n, features), (n, rows, columns), (n, rows, columns, 3) or None
            The weights of n units by feature, those of the classes if n is their number; or n
            pictures.
        """
        first = next(iter(weights.values()))
        if first.ndim == 2 and len(first) == math.prod(shape):
            return first.T
        if first.ndim == 4:  # kernels (rows, columns, channels, filters) of a convolution
            kernels = np.moveaxis(first, 3, 0)
            return kernels if kernels.shape[3] == 3 else kernels.mean(3)
        return None


def linear(x: "tf.Tensor", weight: "tf.Tensor", bias: "tf.Tensor") -> "tf.Tensor":
    """Return x @ weight + bias, (n, units), for x (n, inputs): exactly, unless x is float32.

    The gradient of a float32 product is computed the other way around, (dy' x)': when a weight has
    few columns, oneDNN is a quarter faster at that than at x' dy.
    """
    import tensorflow as tf

    from pipeline.exact import linear as exact

    if x.dtype != tf.float32:
        return exact.linear(x, weight, bias)

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def product(x: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, Any]:
        def gradients(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return (
                tf.matmul(dy, weight, transpose_b=True),
                tf.transpose(tf.matmul(dy, x, transpose_a=True)),
            )

        return tf.matmul(x, weight), gradients

    return product(x, tf.convert_to_tensor(weight)) + bias


class LogisticRegression(Model):
    """Multinomial logistic (softmax) regression: logits = x W + b.

    Parameters
    ----------
    shape : tuple of int
        Of an example; the model takes it flat.
    classes : int
        Columns of the logits.
    seed : int
        Unused: every weight starts at the same value.
    weight, bias : float
        Initial values.

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
    ):
        import tensorflow as tf

        self.weight = tf.Variable(tf.fill([math.prod(shape), classes], weight), name="weight")
        self.bias = tf.Variable(tf.fill([classes], bias), name="bias")
        self.weights = {"weight": self.weight, "bias": self.bias}

    def __call__(self, x: "tf.Tensor") -> "tf.Tensor":
        """Return the logits, (n, classes)."""
        return linear(x, self.weights["weight"], self.weights["bias"])


class MLP(Model):
    """A multilayer perceptron: dense layers with ReLU between them.

    Parameters
    ----------
    shape : tuple of int
        Of an example; the model takes it flat.
    classes : int
        Columns of the logits.
    seed : int
        Of the initial weights: normal with variance 2 / fan-in, biases zero. They are drawn as
        float64: NumPy's float32 normals depend on the C library's log1pf.
    hidden : list of int
        Units of each hidden layer.

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
        hidden: list[Annotated[int, Field(ge=1, le=65_536)]],
    ):
        import tensorflow as tf

        generator = np.random.default_rng(seed)
        self.layers = len(hidden) + 1
        self.weights = {}
        for number, (rows, columns) in enumerate(pairwise([math.prod(shape), *hidden, classes])):
            values = generator.standard_normal((rows, columns)) * np.sqrt(2 / rows)
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


MODELS: Registry[type[Model]] = Registry(
    "models", {"logistic_regression": LogisticRegression, "mlp": MLP}
)


def is_exact(determinism: str, model: str) -> bool:
    """Tell whether a model computes with the operations of pipeline/exact."""
    return determinism == "portable" and MODELS[model].exact
