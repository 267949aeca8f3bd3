"""Intervals from few values: they agree with scipy's, hold the truth as often as they say, and do not hang on units."""

from __future__ import annotations

from math import exp, inf, isclose
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from testbed.analysis.statistics import Interval, mean_interval, ratio_interval

RATIOS = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_the_mean_s_interval_is_student_s(values: list[float]) -> None:
    found = mean_interval(values)
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=found.estimate, scale=error)
        assert found.low == pytest.approx(low, rel=1e-6, abs=1e-6)
        assert found.high == pytest.approx(high, rel=1e-6, abs=1e-6)


@given(ratios=RATIOS)
def test_the_interval_contains_the_ratio_and_the_ratio_lies_among_its_parts(ratios: list[float]) -> None:
    found = ratio_interval(ratios)
    assert found.low <= found.estimate * (1 + 1e-9)
    assert found.high >= found.estimate * (1 - 1e-9)
    assert min(ratios) * (1 - 1e-9) <= found.estimate <= max(ratios) * (1 + 1e-9)


@given(ratios=RATIOS, factor=st.floats(1e-3, 1e3))
def test_a_factor_on_every_ratio_is_a_factor_on_the_interval(ratios: list[float], factor: float) -> None:
    plain, scaled = ratio_interval(ratios), ratio_interval([factor * ratio for ratio in ratios])
    for before, after in zip(_ends(plain), _ends(scaled), strict=True):
        assert isclose(after, factor * before, rel_tol=1e-6)


@given(ratios=RATIOS)
def test_ratios_turned_over_turn_the_interval_over(ratios: list[float]) -> None:
    found, turned = ratio_interval(ratios), ratio_interval([1 / ratio for ratio in ratios])
    assert isclose(turned.low * found.high, 1, rel_tol=1e-6)
    assert isclose(turned.high * found.low, 1, rel_tol=1e-6)


@given(ratios=RATIOS)
def test_more_confidence_is_a_wider_interval(ratios: list[float]) -> None:
    narrow, wide = ratio_interval(ratios, 0.5), ratio_interval(ratios, 0.99)
    assert wide.low <= narrow.low
    assert wide.high >= narrow.high


@pytest.mark.parametrize("pairs", [2, 3, 6])
def test_the_truth_is_inside_as_often_as_the_confidence_says(pairs: int) -> None:
    random, trials = Random(pairs), 4000
    inside = 0
    for _ in range(trials):
        found = ratio_interval([1.3 * exp(random.gauss(0, 0.1)) for _ in range(pairs)])
        inside += found.low <= 1.3 <= found.high
    share_low, share_high = stats.binomtest(inside, trials).proportion_ci(0.999)
    assert share_low <= 0.95 <= share_high


def test_one_value_alone_says_nothing_of_its_noise() -> None:
    assert mean_interval([3.0]) == Interval(3.0, -inf, inf)
    found = ratio_interval([2.0])
    assert (found.low, found.high) == (0.0, inf)


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval([4.0, 4.0, 4.0]) == Interval(4.0, 4.0, 4.0)


def test_an_interval_beyond_all_numbers_is_endless() -> None:
    assert ratio_interval([1e-200, 1e200]).high == inf


@pytest.mark.parametrize("ratios", [[1.0, 0.0], [-1.0, 1.0]])
def test_what_is_no_ratio_is_refused(ratios: list[float]) -> None:
    with pytest.raises(ValueError, match="not positive"):
        ratio_interval(ratios)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_what_is_no_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.estimate, interval.high
