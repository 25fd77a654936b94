"""Several logistic regressions as one model."""

from collections.abc import Sequence

import tensorflow as tf

from pipeline.models import LogisticRegression, Model, linear


class SideBySide(Model):
    """Logistic regressions of the same shape as one with more columns: logits (n, models, classes).

    A product with more columns costs less than several. As it is exact, a column has the bits that
    it has alone.
    """

    exact = True

    def __init__(self, models: Sequence[LogisticRegression]):
        self.batch = (len(models),)
        self.weight = tf.Variable(tf.concat([model.weight for model in models], 1), name="weight")
        self.bias = tf.Variable(tf.concat([model.bias for model in models], 0), name="bias")
        self.weights = {"weight": self.weight, "bias": self.bias}

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Return the logits, float64 (n, models, classes)."""
        classes = self.weight.shape[1] // self.batch[0]
        return tf.reshape(linear(x, self.weight, self.bias), [-1, *self.batch, classes])
