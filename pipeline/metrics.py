"""The metrics: `METRICS` maps a name of `metrics:` in conf/config.yaml to its function.

Each, here or in own/metrics/, gets the labels of the test set, uint8 (n,), and the probabilities,
float64 (n, classes), which lie in a file and may be larger than memory. It returns a number, or
None if it does not apply. Its keyword-only arguments are its options, checked against their
annotations.

A sum of floats is a `math.fsum`, which is rounded once: it has the same bits in any order, on every
machine.
"""

import math
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.registry import Registry

VALUES = 2**20  # so many probabilities are in memory at once

Labels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Count = Annotated[int, Field(ge=1)]


def accuracy(y: Labels, probabilities: Floats) -> float:
    """Return the share of the examples whose most probable class is right."""
    return int((answers(probabilities) == y).sum()) / len(y)


def macro_precision(y: Labels, probabilities: Floats) -> float:
    """Return the mean of the classes' precisions."""
    return fmean(per_class(_matrix(y, probabilities))["precision"].tolist())


def macro_recall(y: Labels, probabilities: Floats) -> float:
    """Return the mean of the classes' recalls; a class that does not occur has 0."""
    return fmean(per_class(_matrix(y, probabilities))["recall"].tolist())


def macro_f1(y: Labels, probabilities: Floats) -> float:
    """Return the mean of the classes' F1."""
    return fmean(per_class(_matrix(y, probabilities))["f1"].tolist())


def balanced_accuracy(y: Labels, probabilities: Floats) -> float:
    """Return the mean of the recalls of the classes that occur.

    References
    ----------
    Brodersen et al., The Balanced Accuracy and Its Posterior Distribution (2010).
    """
    matrix = _matrix(y, probabilities)
    return fmean(per_class(matrix)["recall"][matrix.sum(1) > 0].tolist())


def top(y: Labels, probabilities: Floats, *, k: Count) -> float | None:
    """Return the share of the examples whose class is among the k most probable.

    Of equally probable classes the first counts, as it does in `accuracy`. With k classes or fewer
    the metric would always be 1, and is None.
    """
    classes = probabilities.shape[1]
    if classes <= k:
        return None
    hits = 0
    for labels, block in _blocks(y, probabilities):
        own = block[np.arange(len(labels)), labels][:, None]
        before = (block > own) | ((block == own) & (np.arange(classes) < labels[:, None]))
        hits += int((before.sum(1) < k).sum())
    return hits / len(y)


def brier_score(y: Labels, probabilities: Floats) -> float:
    """Return the mean over examples of sum_k (p_k - [k is the class])^2: 0 is best, 2 worst.

    References
    ----------
    Brier, Verification of Forecasts Expressed in Terms of Probability (1950).
    """

    def errors() -> Iterator[float]:
        for labels, block in _blocks(y, probabilities):
            total = np.zeros(len(labels))
            for k, column in enumerate(block.T):
                total += (column - (labels == k)) ** 2
            yield from total.tolist()

    return math.fsum(errors()) / len(y)


def expected_calibration_error(y: Labels, probabilities: Floats, *, bins: Count = 15) -> float:
    """Return by how much the probability of the answer and the accuracy differ, on average.

    Examples are put into `bins` intervals of equal width, (0, 1/bins], ..., by the probability of
    their answer. For each interval, the mean probability and the accuracy are compared; the mean of
    these differences is weighted by the number of examples.

    References
    ----------
    Guo et al., On Calibration of Modern Neural Networks (2017), equation 3; 15 bins as there.
    """
    right, confidence = answers(probabilities) == y, np.array(probabilities.max(1))
    number = np.searchsorted(np.arange(1, bins) / bins, confidence)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=bins))[:-1]
    parts = zip(np.split(confidence[order], ends), np.split(right[order], ends), strict=True)
    gaps = (abs(int(hits.sum()) - math.fsum(values.tolist())) for values, hits in parts)
    return math.fsum(gaps) / len(y)


METRICS: Registry[Callable[..., float | None]] = Registry(
    "metrics",
    {
        "accuracy": accuracy,
        "macro_precision": macro_precision,
        "macro_recall": macro_recall,
        "macro_f1": macro_f1,
        "balanced_accuracy": balanced_accuracy,
        "top": top,
        "brier_score": brier_score,
        "expected_calibration_error": expected_calibration_error,
    },
)


def answers(probabilities: Floats) -> NDArray[np.int64]:
    """Return the most probable class of each example; of equally probable ones the first."""
    return np.array(probabilities.argmax(1))


def confusion_matrix(
    actual: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Return how often each class (row) was predicted as each class (column), int64."""
    pairs = actual.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: NDArray[np.int64]) -> dict[str, Floats]:
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


def _matrix(y: Labels, probabilities: Floats) -> NDArray[np.int64]:
    return confusion_matrix(y, answers(probabilities), probabilities.shape[1])


def _blocks(y: Labels, probabilities: Floats) -> Iterator[tuple[Labels, Floats]]:
    """Yield the labels and their probabilities block by block, so that few are in memory."""
    rows = max(VALUES // probabilities.shape[1], 1)
    for start in range(0, len(y), rows):
        yield y[start : start + rows], np.asarray(probabilities[start : start + rows])
