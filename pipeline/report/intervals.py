"""95 % intervals: what a number could as well have been with other examples of the same kind.

What is written into the results is computed with sums, products and square roots alone, which have
the same bits on every machine.
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
