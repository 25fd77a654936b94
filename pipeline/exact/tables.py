"""Tables of exp and log, computed with Python's integers, so that no library's function is called.

The integers here are fixed-point numbers with `POINT` binary digits after the point.
"""

from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

POINT = 160  # binary digits, enough for tens of thousands of products that are each rounded down
ONE = 1 << POINT

LOGIT = 24  # binary digits after the point of a logit, and of a loss
EXP = 40  # binary digits after the point of exp(-t)
CUT = 32  # exp(-t) is 0 for t from here on
FINE = 14  # the last digits of t, which are looked up in `fine`; the others are in `coarse`

STEPS = 12  # log has 2^STEPS points between a power of two and the next
OCTAVES = 9  # powers of two that a sum of up to 256 numbers may reach, the largest being 2^EXP
POINTS = 2 ** (4 + STEPS)  # an index of 4 bits of a sum's exponent and STEPS of its significand


class Tables(NamedTuple):
    """The tables.

    Attributes
    ----------
    coarse : array of float64 (CUT * 2^(LOGIT - FINE),)
        2^EXP exp(-i 2^(FINE - LOGIT)) at index i, rounded to integers.
    fine : array of float64 (2^FINE,)
        exp(-i 2^-LOGIT) at index i.
    slope, log : array of float64 (POINTS,)
        2^LOGIT log(total / 2^EXP) is log[i] + slope[i] total, where the index i consists of the
        last 4 bits of the total's exponent and the first STEPS bits of its significand.
    """

    coarse: NDArray[np.float64]
    fine: NDArray[np.float64]
    slope: NDArray[np.float64]
    log: NDArray[np.float64]


def tables() -> Tables:
    """Return the tables."""
    coarse = _powers(_exp(ONE >> (LOGIT - FINE)), CUT << (LOGIT - FINE))
    half = 1 << (POINT - EXP - 1)
    return Tables(
        np.array([(one + half) >> (POINT - EXP) for one in coarse], np.float64),
        np.array([one / ONE for one in _powers(_exp(ONE >> LOGIT), 1 << FINE)]),
        *_logs(),
    )


def _logs() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slope and log: those of the tangents at the middles between neighbouring points."""
    count = 2**STEPS
    middles = range(2 * count + 1, 4 * count, 2)  # over 2 count: from 1 to 2
    # log((n + 2) / n) = 2 atanh(1 / (n + 1))
    first = _twice_atanh(4 * count + 1)  # log((2 count + 1) / (2 count))
    logs = list(accumulate((_twice_atanh(n + 1) for n in middles[:-1]), initial=first))
    log_2 = logs[-1] + _twice_atanh(8 * count - 1)
    slope, log = np.zeros((2, POINTS))
    for octave in range(OCTAVES):
        start = (1023 + EXP + octave) % 16 * count
        slope[start : start + count] = [
            2.0 ** (LOGIT - EXP - octave) * (2 * count / n) for n in middles
        ]
        log[start : start + count] = [((one + octave * log_2 - ONE) << LOGIT) / ONE for one in logs]
    return slope, log


def _exp(x: int) -> int:
    """Return exp(-x)."""
    term, total, n = ONE, 0, 0
    while term:
        total, n = total + term, n + 1
        term = -term * x // (ONE * n)
        if term == -1:  # // rounds down, so a negative term never becomes 0
            break
    return total


def _powers(base: int, count: int) -> list[int]:
    """Return base^0, base^1 ..."""
    return list(accumulate(range(count - 1), lambda power, _: power * base >> POINT, initial=ONE))


def _twice_atanh(n: int) -> int:
    """Return 2 atanh(1 / n) = 2 (1/n + 1/(3 n^3) + 1/(5 n^5) ...)."""
    total, power, k = 0, 2 * ONE // n, 1
    while power:
        total, power, k = total + power // k, power // (n * n), k + 2
    return total
