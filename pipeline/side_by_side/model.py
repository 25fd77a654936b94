"""Several logistic regressions as one model."""

from collections.abc import Sequence

import tensorflow as tf

from pipeline.modelling.model import Model, linear
from pipeline.models import LogisticRegression


class SideBySide(Model):
    """Logistic regressions of the same shape as one with more columns: logits (n, models, classes).

    One product with many columns takes less time than several with few. As it is exact, a column
    has the bits that it has alone.
    """

    exact = True

    def __init__(self, models: Sequence[LogisticRegression]):
        self.batch, self.l2 = (len(models),), models[0].l2
        self.weights = {
            name: tf.Variable(tf.concat([model.weights[name] for model in models], -1), name=name)
            for name in ("weight", "bias")
        }

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Return the logits, float64 (n, models, classes)."""
        weight, bias = self.weights["weight"], self.weights["bias"]
        classes = weight.shape[1] // self.batch[0]
        return tf.reshape(linear(x, weight, bias), [-1, *self.batch, classes])
