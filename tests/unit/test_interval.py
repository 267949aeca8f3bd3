"""Exact binomial intervals against scipy's, and their promise: they hold the truth as often as they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from testbed.model.interval import binomial_cdf, clopper_pearson


@given(st.integers(1, 20_000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_bounds_agree_with_scipy(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(0.99)
    assert clopper_pearson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_coverage_is_at_least_what_is_promised() -> None:
    trials, share = 500, 0.01
    covered = sum(
        binom.pmf(count, trials, share)
        for count in range(trials + 1)
        if (bounds := clopper_pearson(count, trials))[0] <= share <= bounds[1]
    )
    assert covered >= 0.99


def test_nothing_lost_still_leaves_room_for_some_loss() -> None:
    low, high = clopper_pearson(0, 1000)
    assert low == 0.0
    assert high == pytest.approx(0.005284, abs=1e-6)


def test_ends_of_the_distribution() -> None:
    assert binomial_cdf(-1, 10, 0.5) == 0.0
    assert binomial_cdf(10, 10, 0.5) == 1.0
    assert binomial_cdf(3, 10, 0.0) == 1.0
    assert binomial_cdf(3, 10, 1.0) == 0.0


@pytest.mark.parametrize(("successes", "trials", "confidence"), [(0, 0, 0.99), (5, 4, 0.99), (-1, 4, 0.99), (1, 4, 1)])
def test_counts_that_cannot_be_are_refused(successes: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"of|confidence"):
        clopper_pearson(successes, trials, confidence)
