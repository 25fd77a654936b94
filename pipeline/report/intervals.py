"""95 % intervals of accuracies: where they would plausibly lie for other examples of the same kind.

They are computed with sums, products and square roots alone, which have the same bits on every
machine.
"""

import math

Z = 1.959963984540054  # 97.5 % of the standard normal distribution lie below
Interval = tuple[float, float]


def wilson(correct: int, examples: int) -> Interval:
    """Return Wilson's 95 % interval of an accuracy: the lower and the upper end.

    These are the accuracies that a test at 5 % would not reject, given so many correct answers.

    References
    ----------
    Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).
    """
    if not examples:
        return 0.0, 1.0
    middle = correct + Z * Z / 2
    half = Z * math.sqrt(correct * (examples - correct) / examples + Z * Z / 4)
    low = (middle - half) / (examples + Z * Z) if correct else 0.0
    high = (middle + half) / (examples + Z * Z) if correct < examples else 1.0
    return low, high


def of_difference(
    correct: tuple[int, int], examples: tuple[int, int], correlation: float = 0.0
) -> Interval:
    """Return Newcombe's 95 % interval of the second accuracy less the first.

    It is composed of the Wilson intervals of both. Without a correlation, it is the interval for
    accuracies on different examples, which is too wide for the same examples.

    Parameters
    ----------
    correct, examples : pair of int
        Of the first and of the second.
    correlation : float
        Between being right in the one and in the other, if the examples are the same: see `phi`.

    References
    ----------
    Newcombe, Interval Estimation for the Difference between Independent Proportions (1998), method
    10; Newcombe, Improved Confidence Intervals for the Difference between Binomial Proportions
    Based on Paired Data (1998), method 10.
    """
    (low_1, high_1), (low_2, high_2) = map(wilson, correct, examples)
    first, second = (k / max(n, 1) for k, n in zip(correct, examples, strict=True))

    def together(one: float, other: float) -> float:
        return math.sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))

    return (
        second - first - together(second - low_2, high_1 - first),
        second - first + together(high_2 - second, first - low_1),
    )


def phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return the correlation of being right between two models, as Newcombe's method 10 has it."""
    examples = both + only_first + only_second + neither
    margins = (
        (both + only_first)
        * (only_second + neither)
        * (both + only_second)
        * (only_first + neither)
    )
    excess: float = both * neither - only_first * only_second
    if excess > 0:
        excess = max(excess - examples / 2, 0.0)
    return excess / math.sqrt(margins) if margins else 0.0


def sampling_error(accuracy: float, examples: int) -> float:
    """Return how far, in 95 of 100 cases, the accuracy on other examples lies from this one.

    It is half the width of Wilson's interval. For many examples, that is z sqrt(p (1 - p) / n) with
    the accuracy p; but it is not 0 if all answers are right.
    """
    of_one = accuracy * (1 - accuracy) + Z * Z / (4 * examples)
    return Z * math.sqrt(of_one / examples) / (1 + Z * Z / examples)
