"""Histograms as merged and read in Python agree with sorting the values."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.model.histogram import Histogram, bucket_width


def _low(value: int) -> int:
    """The lowest value of the bucket that holds a value, by the definition in images/common/histogram.h."""
    shift = max(0, value.bit_length() - 11)
    return value >> shift << shift


def _written(values: list[int]) -> dict[str, object]:
    buckets = sorted(Counter(map(_low, values)).items())
    return {"count": len(values), "max": max(values, default=0), "sum": sum(values), "buckets": buckets}


VALUES = st.lists(st.integers(0, 2**40), min_size=1, max_size=200)


@given(parts=st.lists(VALUES, min_size=1, max_size=4), quantile=st.floats(0.001, 1.0))
def test_a_quantile_is_within_a_thousandth_of_the_exact_one(parts: list[list[int]], quantile: float) -> None:
    merged = Histogram.merged(_written(part) for part in parts)
    everything = sorted(value for part in parts for value in part)
    exact = everything[max(1, math.ceil(quantile * len(everything))) - 1]
    found = merged.quantile(quantile)
    assert found is not None
    assert abs(found - exact) <= max(1, exact / 1000)
    assert merged.count == len(everything)
    assert merged.max == everything[-1]
    assert merged.sum == sum(everything)


@given(value=st.integers(0, 2**62))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    low = _low(value)
    assert low <= value < low + bucket_width(low)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram.merged([]).quantile(0.5) is None


def test_what_is_no_histogram_is_refused() -> None:
    with pytest.raises(InputError, match="histogram: buckets"):
        Histogram.merged([{"count": 1, "max": 1, "sum": 1, "buckets": [[1]]}])
