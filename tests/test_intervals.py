"""Intervals against independent implementations, published tables and simulations."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import proportion

from pipeline.report.intervals import of_difference, phi, wilson

PUBLISHED = {  # Newcombe, Two-sided confidence intervals for the single proportion (1998), table I
    (81, 263): (0.2553, 0.3662),
    (15, 148): (0.0624, 0.1605),
    (0, 20): (0.0, 0.1611),
    (1, 29): (0.0061, 0.1718),
}


def test_wilsons_interval_is_that_of_the_table_and_of_scipy() -> None:
    for (correct, examples), interval in PUBLISHED.items():
        assert wilson(correct, examples) == pytest.approx(interval, abs=5e-5)
    for examples in (1, 2, 7, 100, 10_000, 10**7):
        for correct in {0, 1, examples // 3, examples - 1, examples}:
            low, high = stats.binomtest(correct, examples).proportion_ci(0.95, "wilson")
            assert wilson(correct, examples) == pytest.approx((low, high), abs=1e-12)
            assert 0 <= wilson(correct, examples)[0] < wilson(correct, examples)[1] <= 1
    assert wilson(0, 0) == (0, 1)


def test_the_readmes_result_has_the_interval_that_it_says() -> None:
    assert wilson(9223, 10_000) == pytest.approx((0.9169, 0.9274), abs=5e-5)


def test_newcombes_intervals_are_those_of_the_tables_and_of_statsmodels() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        examples = generator.integers(1, 500, 2).tolist()
        correct = [int(generator.integers(0, n + 1)) for n in examples]
        expected = proportion.confint_proportions_2indep(
            correct[1], examples[1], correct[0], examples[0], method="newcomb"
        )
        found = of_difference((correct[0], correct[1]), (examples[0], examples[1]))
        assert found == pytest.approx(expected, abs=1e-9)
    # Newcombe (1998), table II: 56 of 70 and 48 of 80
    assert of_difference((48, 56), (80, 70)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Fagerland, Lydersen and Laake (2017), chapter 8, of the trial of Cavo et al. (2012)
    paired = of_difference((75, 65), (161, 161), phi(59, 16, 6, 80))
    assert paired == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    for one in ((10, 0, 0, 5), (10, 0, 0, 0), (0, 7, 0, 0), (0, 4, 4, 0)):
        both, first, second, _ = one
        low, high = of_difference((both + first, both + second), (sum(one),) * 2, phi(*one))
        assert -1 <= low <= (second - first) / sum(one) <= high <= 1


@pytest.mark.slow
def test_wilsons_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    uniform = generator.uniform(0, 1, 20_000)  # of one share alone it swings, as counts are whole
    for shares, examples in ((0.92 + 0 * uniform, 10_000), (uniform, 100)):
        drawn = generator.binomial(examples, shares).tolist()
        ends = np.array([wilson(correct, examples) for correct in drawn])
        assert 0.945 < np.mean((ends[:, 0] <= shares) & (shares <= ends[:, 1])) < 0.957
