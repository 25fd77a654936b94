"""What a model is: weights by name, and logits computed from them."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

Loss = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]  # of the logits and y


class Model:
    """Named weights, and logits computed from them.

    Parameters
    ----------
    shape : tuple of int
        Of an example.
    classes : int
        Columns of the logits.
    seed : int
        Of the initial weights, if they are random.
    **options
        Those of the model's YAML file.

    Attributes
    ----------
    weights : dict of str to tf.Variable
        The trained arrays, float32, by the name they have in weights.npz. The logits are computed
        from what is in this dict, which training fills with tensors in place of variables.
    state : mapping of str to tf.Variable
        What the model itself assigns to while it is trained, such as moving means. It is saved and
        restored with the weights. A model that has any is called with whole batches.
    exact : bool
        Whether it consists of the operations of pipeline/exact, which have the same bits on every
        machine. With `determinism: portable`, x is then as `linear` takes it, and the logits are
        float64. In a model with a `loss` or `penalty` of its own, it is False.
    batch : tuple of int
        The axes of the logits between those of the examples and the classes, if it is several
        models side by side.
    classes : int or None
        Columns that the logits must have, None if any will do.
    l2 : float
        Weight of the penalty on large weights.
    """

    weights: dict[str, "tf.Variable"]
    state: Mapping[str, "tf.Variable"] = {}
    exact = False
    batch: tuple[int, ...] = ()
    classes: int | None = None
    l2 = 0.0

    def __init_subclass__(cls) -> None:
        """Take `exact` back from a class whose loss or penalty is not that of pipeline/exact."""
        if cls.loss is not Model.loss or cls.penalty is not Model.penalty:
            cls.exact = False

    def __init__(self, shape: tuple[int, ...], classes: int, seed: int, **options: Any):
        raise NotImplementedError

    def __call__(self, x: "tf.Tensor") -> "tf.Tensor":
        """Return the logits, (n, classes), of x, (n, features): float32 unless it is exact.

        The features are the values of an example of the model's `shape`, laid out flat. The call
        becomes part of a graph, in which conditions on tensors are `tf.where` or `tf.cond`.

        A model may take two arguments more. `training` is True in a step of training. `seed` is
        then a tensor of int64 (2,) for TensorFlow's `stateless` functions, another one for each
        block of each batch. At other times, they are False and None.
        """
        raise NotImplementedError

    def loss(self, logits: "tf.Tensor", y: "tf.Tensor") -> "tf.Tensor":
        """Return the loss of each example, float32 (n,), whose mean is minimised.

        Unless a model overrides it, it is the cross-entropy in nats.

        Parameters
        ----------
        logits : tensor of float32 (n, classes)
        y : tensor of int32 (n,)
        """
        import tensorflow as tf

        return tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=y).loss

    def penalty(self) -> "tf.Tensor | None":
        """Return what is added to the mean loss of each batch, a scalar, or None for nothing.

        Unless a model overrides it, it is `l2` / 2 times the sum of the squares of all weights but
        biases. Its gradient, `l2` times each weight, is exact.
        """
        import tensorflow as tf

        if not self.l2:
            return None
        return self.l2 * tf.add_n(
            [tf.nn.l2_loss(one) for one in self.weights.values() if one.shape.rank > 1]
        )

    @staticmethod
    def pictures(
        weights: Mapping[str, NDArray[Any]], shape: tuple[int, ...]
    ) -> NDArray[np.float32] | None:
        """Return what `plot` shows of the trained arrays, or None for nothing.

        Unless a model overrides it, it is the first layer. TensorFlow is not needed for it.

        Parameters
        ----------
        weights : mapping of str to array
            The arrays of weights.npz, in its order.
        shape : tuple of int
            Of an example.

        Returns
        -------
        array of float32 (n, features), (n, rows, columns), (n, rows, columns, 3) or None
            With two axes, the weights of n units, which are the classes if n is their number. With
            more, n pictures.
        """
        first = next(iter(weights.values()))
        if first.ndim == 2 and len(first) == math.prod(shape):
            return first.T
        if first.ndim == 4:  # kernels (rows, columns, channels, filters) of a convolution
            kernels = np.moveaxis(first, 3, 0)
            return kernels if kernels.shape[3] == 3 else kernels.mean(3)
        return None

    @property
    def saved(self) -> dict[str, "tf.Variable"]:
        """What weights.npz holds: the weights and the state, by name."""
        return {**self.weights, **self.state}

    @classmethod
    def takes(cls, name: str) -> bool:
        """Tell whether `__call__` has an argument of that name."""
        return name in inspect.signature(cls.__call__).parameters

    @property
    def own_loss(self) -> Loss | None:
        """The loss of a model that overrides the cross-entropy, else None."""
        return None if type(self).loss is Model.loss else self.loss


def linear(x: "tf.Tensor", weight: "tf.Tensor", bias: "tf.Tensor") -> "tf.Tensor":
    """Return x @ weight + bias, (n, units), for x (n, inputs): exactly, unless x is float32.

    The gradient of a float32 product, x' dy, is computed as (dy' x)', which oneDNN does in three
    quarters of the time if the weight has few columns.
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
