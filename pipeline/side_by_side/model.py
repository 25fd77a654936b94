"""Several logistic regressions as one model, and how its logits are judged."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipeline.learning.inference import Score
from pipeline.models import LogisticRegression, Model, product

WIDTH = 16  # columns that oneDNN's AVX2 kernels compute at a time


class SideBySide(Model):
    """Logistic regressions of the same shape as one: logits (n, heads * classes).

    A product with more columns costs less than several products. The weights' columns are filled
    up with zeros to a multiple of `WIDTH`, which oneDNN multiplies as it does a head alone.
    """

    def __init__(self, models: Sequence[LogisticRegression]):
        _, classes = models[0].weight.shape
        self.heads = len(models)
        self.sizes = [classes] * self.heads + [-self.heads * classes % WIDTH]
        weight = tf.pad(
            tf.concat([model.weight for model in models], 1), [[0, 0], [0, self.sizes[-1]]]
        )
        bias = tf.pad(tf.concat([model.bias for model in models], 0), [[0, self.sizes[-1]]])
        self.weight = tf.Variable(weight, name="weight")
        self.bias = tf.Variable(bias, name="bias")
        self.weights = {"weight": self.weight, "bias": self.bias}

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Return the logits, float32 (n, heads * classes)."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def add(logits: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Any]:
            def gradients(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                heads = tf.split(dy, self.sizes, 1)  # the order of a sum depends on the columns
                return dy, tf.concat([tf.reduce_sum(head, 0) for head in heads], 0)

            return logits + bias, gradients

        logits = add(product(x, self.weight), tf.convert_to_tensor(self.bias))
        return logits[:, : sum(self.sizes[:-1])]


class EachHead(Score):
    """Judges the logits of each model on its own.

    Parameters
    ----------
    heads : int
        How many models there are.
    """

    def __init__(self, heads: int):
        self.shape = (heads,)

    def __call__(self, logits: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return what `Score` does for each head, both (heads, n)."""
        (heads,) = self.shape
        of_each = tf.reshape(logits, [-1, logits.shape[1] // heads])
        labels = tf.reshape(tf.tile(y[:, None], [1, heads]), [-1])
        losses, correct = super().__call__(of_each, labels)
        return _by_head(losses, heads), _by_head(correct, heads)


def _by_head(values: tf.Tensor, heads: int) -> tf.Tensor:
    return tf.transpose(tf.reshape(values, [-1, heads]))
