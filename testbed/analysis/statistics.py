"""Means and ratios with their confidence intervals, from few and noisy repetitions.

Student's t rather than a bootstrap: with the three to ten pairs that a run has, a bootstrap's interval is known to be
too narrow (it cannot see beyond the pairs that it draws from), and t's holds what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from sys import float_info

from scipy.special import stdtrit

CONFIDENCE = 0.95

_LARGEST_LOGARITHM = log(float_info.max)


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the truth with the given confidence."""

    estimate: float
    low: float
    high: float


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of independent values. One value alone gives an interval without ends: it says nothing of its noise.

    Raises ValueError without values, or for a confidence that is none.
    """
    if not values:
        raise ValueError("no values")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: between 0 and 1")
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return Interval(mean, -inf, inf)
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * deviation / sqrt(count)
    return Interval(mean, mean - half, mean + half)


def ratio_interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The geometric mean of paired ratios, on whose logarithms the interval is made.

    Twice and half are then equally far from equal, and turning every ratio over turns the interval over. Raises
    ValueError for a ratio that is not positive.
    """
    if any(ratio <= 0 for ratio in ratios):
        raise ValueError("a ratio that is not positive")
    logarithms = mean_interval([log(ratio) for ratio in ratios], confidence)
    return Interval(_exp(logarithms.estimate), _exp(logarithms.low), _exp(logarithms.high))


def _exp(logarithm: float) -> float:
    return exp(logarithm) if logarithm < _LARGEST_LOGARITHM else inf
