"""Intervals against independent implementations, published tables and simulations."""

import pytest
from scipy import stats

from pipeline.report.intervals import wilson

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
