"""Scores against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from pipeline.report import scores


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    actual, predicted = generator.integers(0, 6, (2, 200))
    predicted[predicted == 5] = 0  # a class that is never predicted
    matrix = scores.confusion_matrix(actual, predicted, 7)  # and one that does not occur
    assert (matrix == metrics.confusion_matrix(actual, predicted, labels=range(7))).all()
    expected = metrics.precision_recall_fscore_support(
        actual, predicted, labels=range(7), zero_division=0
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(scores.per_class(matrix)[name], values, atol=1e-12)


def test_a_mean_is_added_in_order() -> None:
    parts = [np.full((2, 3), value) for value in (1e16, 1.0, 1.0, -1e16)]
    assert (scores.mean(parts) == (1e16 + 1.0 + 1.0 - 1e16) / 4).all()
    grey = [np.full(2, value, np.uint8) for value in (200, 100)]
    assert scores.mean(grey).tolist() == [150, 150]
