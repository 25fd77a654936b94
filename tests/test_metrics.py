"""The metrics, against scikit-learn, SciPy and values computed by hand."""

import errno
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn import metrics as sklearn

from pipeline import evaluate, metrics
from pipeline.errors import UserError
from pipeline.metrics import METRICS
from pipeline.report.kept import kept
from pipeline.settings.schema import Choice
from tests.conftest import ROOT

Answers = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
OTHERS: dict[str, Callable[..., float]] = {  # of y, p, the answers and the classes' numbers
    "accuracy": lambda y, p, answers, classes: sklearn.accuracy_score(y, answers),
    "macro_precision": lambda y, p, answers, classes: sklearn.precision_score(
        y, answers, labels=classes, average="macro", zero_division=0
    ),
    "macro_recall": lambda y, p, answers, classes: sklearn.recall_score(
        y, answers, labels=classes, average="macro", zero_division=0
    ),
    "macro_f1": lambda y, p, answers, classes: sklearn.f1_score(
        y, answers, labels=classes, average="macro", zero_division=0
    ),
    "balanced_accuracy": lambda y, p, answers, classes: sklearn.balanced_accuracy_score(y, answers),
    "brier_score": lambda y, p, answers, classes: sklearn.brier_score_loss(
        y, p, labels=classes, scale_by_half=False
    ),
    "expected_calibration_error": lambda y, p, answers, classes: calibration(y, p, answers, 15),
}


def calibration(y: Any, p: Any, answers: Any, bins: int) -> float:
    def binned(values: Any, statistic: str) -> Any:
        found = stats.binned_statistic(p.max(1), values, statistic, bins, range=(0, 1))
        return np.nan_to_num(found.statistic)

    right = answers == y
    share = binned(right, "count") / len(y)
    return float((share * np.abs(binned(right, "mean") - binned(p.max(1), "mean"))).sum())


def answered(seed: int, classes: int = 7, rows: int = 500) -> Answers:
    """Return labels and probabilities of a model that is often right."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, rows).astype(np.uint8)
    logits = generator.standard_normal((rows, classes)) + 2 * np.eye(classes)[y]
    weights = np.exp(logits)
    return y, weights / weights.sum(1, keepdims=True)


def rare(seed: int) -> Answers:
    """Return the same, with a class that is never predicted and one that does not occur."""
    y, p = answered(seed)
    y[y == 6] = 0
    p[:, 5] = 0
    return y, p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("made", [answered, rare])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_equal_others(made: Callable[[int], Answers], seed: int) -> None:
    y, p = made(seed)
    for name, other in OTHERS.items():
        expected = other(y, p, p.argmax(1), range(7))
        assert METRICS[name](y, p) == pytest.approx(expected, abs=1e-12), name
    for k in (1, 3, 6):
        expected = sklearn.top_k_accuracy_score(y, p, k=k, labels=range(7))
        assert metrics.top(y, p, k=k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("bins", [1, 10, 200])
def test_calibration_has_as_many_bins_as_asked_for(bins: int) -> None:
    y, p = answered(9)
    expected = calibration(y, p, p.argmax(1), bins)
    found = metrics.expected_calibration_error(y, p, bins=bins)
    assert found == pytest.approx(expected, abs=1e-12)


def test_values_by_hand() -> None:
    y = np.array([0, 1, 1, 2], np.uint8)
    p = np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [0.0, 0.0, 1.0]])
    assert metrics.accuracy(y, p) == 0.5  # of equal ones the first: the second example is wrong
    assert metrics.balanced_accuracy(y, p) == pytest.approx((1 + 0 + 1) / 3)
    assert metrics.top(y, p, k=1) == metrics.accuracy(y, p)
    assert metrics.top(y, p, k=2) == 1
    assert metrics.top(y, p, k=3) is None
    squares = (0.375, 0.5, 2 * 0.75**2, 0)
    assert metrics.brier_score(y, p) == sum(squares) / 4
    # in (0, 1/2]: 1 of 2 right at 0.5; in (1/2, 1]: 1 of 2 right at 0.75 and 1
    assert metrics.expected_calibration_error(y, p, bins=2) == (0 + 0.75) / 4


def test_one_example() -> None:
    y, p = np.array([1], np.uint8), np.array([[0.25, 0.75]])
    shipped = [name for name, one in METRICS.items() if one.__module__ == metrics.__name__]
    found = {name: METRICS[name](y, p) for name in shipped if name != "top"}
    assert found == {
        "accuracy": 1,
        "macro_precision": 0.5,
        "macro_recall": 0.5,
        "macro_f1": 0.5,
        "balanced_accuracy": 1,
        "brier_score": 0.125,
        "expected_calibration_error": 0.25,
    }


CHOSEN = yaml.safe_load((ROOT / "conf/config.yaml").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.parametrize("chosen", [*CHOSEN, "balanced_accuracy"], ids=str)
def test_any_order_and_any_block_give_the_same_bits(
    chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that a team has added to conf/config.yaml, too."""
    name, options = (chosen, {}) if isinstance(chosen, str) else (chosen["name"], chosen)
    options = {key: value for key, value in options.items() if key != "name"}
    y, p = answered(3, rows=2000)
    expected = METRICS[name](y, p, **options)
    assert expected is None or math.isfinite(expected)
    order = np.random.default_rng(0).permutation(2000)
    monkeypatch.setattr(metrics, "VALUES", 999)
    mapped = kept(p[rows] for rows in np.split(order, [3, 1500]))
    assert METRICS[name](y[order], mapped, **options) == expected


def test_a_metric_that_gives_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimpleNamespace(metrics=[Choice(name="mine")])
    y, p = answered(0)
    for value, expected in ((np.float32(0.5), {"mine": 0.5}), (None, {}), (1, {"mine": 1})):
        monkeypatch.setattr(evaluate, "METRICS", {"mine": lambda y, p, value=value: value})
        assert evaluate.measure(config, y, p) == expected  # type: ignore[arg-type]
    monkeypatch.setattr(evaluate, "METRICS", {"mine": lambda y, p: p[0, :2]})
    with pytest.raises(UserError, match="metric mine: should return a number or None, not array"):
        evaluate.measure(config, y, p)  # type: ignore[arg-type]


def test_no_room_for_the_probabilities_is_one_line() -> None:
    def blocks() -> Iterator[Any]:
        yield np.ones((2, 3))
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=": cannot be written: the disk is full: make room "):
        kept(blocks())


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_classes_equal_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    actual, predicted = generator.integers(0, 6, (2, 200))
    predicted[predicted == 5] = 0  # a class that is never predicted
    matrix = metrics.confusion_matrix(actual, predicted, 7)  # and one that does not occur
    assert (matrix == sklearn.confusion_matrix(actual, predicted, labels=range(7))).all()
    expected = sklearn.precision_recall_fscore_support(
        actual, predicted, labels=range(7), zero_division=0
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(metrics.per_class(matrix)[name], values, atol=1e-12)
