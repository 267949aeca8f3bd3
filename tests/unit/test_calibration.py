"""Automatic rates: the knee is found, and rates stand on both sides of every knee."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.engine.calibration import around, knee_between
from testbed.errors import RunError
from testbed.model.scenario import AUTO, Profile


@given(knee=st.floats(2_000, 500_000))
def test_the_knee_is_found_to_an_eighth_with_few_trials(knee: float) -> None:
    asked: list[float] = []

    def answered(rate: float) -> bool:
        asked.append(rate)
        return rate <= knee

    found = knee_between(answered, 2_000, 512_000, "it")
    assert found <= knee < found * 1.126 or found == 512_000
    assert len(asked) <= 12


def test_a_server_below_the_first_rate_is_named() -> None:
    with pytest.raises(RunError, match="slow does not answer 2,000 requests/s"):
        knee_between(lambda _: False, 2_000, 512_000, "slow")


@given(knees=st.lists(st.floats(2_000, 500_000), min_size=1, max_size=6))
def test_rates_stand_on_both_sides_of_every_knee_and_apart(knees: list[float]) -> None:
    rates = around(knees)
    assert list(rates) == sorted(rates)
    assert all(high > low * 1.03 for low, high in itertools.pairwise(rates))
    for knee in knees:
        assert min(rates) < knee < max(rates)
        assert any(0.8 * knee <= rate <= 1.25 * knee for rate in rates)


def test_auto_is_a_profile_without_rates_and_an_empty_list_is_none() -> None:
    assert Profile(rates_per_s=AUTO).rates_per_s == ()
    with pytest.raises(ValueError, match="at least one rate"):
        Profile(rates_per_s=())
