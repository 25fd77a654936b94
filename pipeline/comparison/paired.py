"""Whether two models differ, judged by their answers to the same examples.

The examples are regarded as a random sample of those that could have been asked. Both models have
answered each of them, so what counts are the examples that only one has right. Those that are hard
for both say nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.comparison.answers import UNIT, Answers, Numbers
from pipeline.report.intervals import of_difference, phi, wilson

RESAMPLES = 1999  # so that 95 % lie between the 50th from either end
TAIL = 50
SEED = 0
LEVEL = 0.05


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def apart(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0

    @property
    def points(self) -> "Estimate":
        """The same number and interval, multiplied by 100."""
        return Estimate(*(100 * number for number in self))

    def named(self, name: str) -> dict[str, float]:
        """Return the three numbers as NAME, NAME_low and NAME_high."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


class Counts(NamedTuple):
    """How many examples both models have right, only one of them, or neither."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def examples(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def right(self) -> tuple[int, int]:
        """How many A has right, and how many B."""
        return self.both + self.only_a, self.both + self.only_b

    @property
    def difference(self) -> Estimate:
        """B's accuracy less A's, with Newcombe's interval for paired proportions."""
        a, b = self.right
        interval = of_difference((a, b), (self.examples, self.examples), phi(*self))
        return Estimate((b - a) / max(self.examples, 1), *interval)

    @property
    def p(self) -> float:
        """The p-value of McNemar's exact test (McNemar, 1947).

        It is the probability that two equally good models would share the examples that only one
        has right at least as unevenly as these two do.
        """
        from scipy import stats

        apart = self.only_a + self.only_b
        return float(stats.binomtest(self.only_a, apart).pvalue) if apart else 1.0


class OfClass(NamedTuple):
    """The counts of a class, and the p-value of its test after Holm's correction."""

    number: int
    counts: Counts
    p: float


def accuracy(answers: Answers) -> Estimate:
    """Return the accuracy with Wilson's interval."""
    right, examples = int(answers.right.sum()), len(answers.right)
    return Estimate(right / examples, *wilson(right, examples))


def counts(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Counts:
    """Return the counts of examples that each model has right."""
    return Counts(*(int(one.sum()) for one in (a & b, a & ~b, ~a & b, ~a & ~b)))


def losses(a: Numbers, b: Numbers) -> tuple[Estimate, Estimate, Estimate]:
    """Return the mean loss of A, of B, and B's less A's, each with a bootstrap interval.

    The interval lies between percentiles of the means of samples that are drawn from the examples
    with replacement. Draws and sums are of integers: they are the same on every machine.

    References
    ----------
    Efron, Bootstrap Methods: Another Look at the Jackknife (1979); Davison and Hinkley, Bootstrap
    Methods and their Application (1997), section 5.3.
    """
    columns, examples = np.stack([a, b, b - a], 1), len(a)
    generator = np.random.default_rng(SEED)
    sums = np.empty((RESAMPLES, columns.shape[1]), np.int64)
    for resample in sums:
        drawn = np.bincount(generator.integers(0, examples, examples), minlength=examples)
        resample[:] = drawn @ columns
    ends = np.sort(sums, 0)[[TAIL - 1, -TAIL]]
    found = np.vstack([columns.sum(0), ends]).T * UNIT / examples
    one, other, difference = (Estimate(*row) for row in found.tolist())
    return one, other, difference


def holm(p: list[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979), in their order."""
    order = np.argsort(p, kind="stable")
    found = np.empty(len(p))
    found[order] = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))
    return found.clip(max=1).tolist()


def classes(a: Answers, b: Answers) -> list[OfClass]:
    """Return the counts and the p-value of each class that occurs."""
    numbers = np.unique(a.actual).tolist()
    found = [counts(a.right[rows], b.right[rows]) for rows in (a.actual == k for k in numbers)]
    corrected = holm([one.p for one in found])
    return [OfClass(*one) for one in zip(numbers, found, corrected, strict=True)]
