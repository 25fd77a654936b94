"""Scores of predictions against labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(
    actual: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Return how often each class (row) was predicted as each class (column), int64."""
    pairs = actual.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall and F1 of each class, 0 where the denominator is 0.

    Parameters
    ----------
    matrix : array of int64 (classes, classes)
        Rows: actual, columns: predicted.

    References
    ----------
    van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    hits = matrix.diagonal().astype(np.float64)
    predicted, actual = matrix.sum(0), matrix.sum(1)
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(actual, 1),
        "f1": 2 * hits / np.maximum(predicted + actual, 1),
    }


def mean(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the elementwise mean, added in the order of the arrays, as NumPy's own need not be."""
    total = np.zeros(arrays[0].shape)
    for array in arrays:
        total += array
    return total / len(arrays)
