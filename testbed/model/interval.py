"""Exact binomial intervals (Clopper-Pearson): a share of losses with the certainty that it deserves.

A link's loss can be judged only against what chance allows: of 1,000 probes at a declared 1 %, anything from 3 to 20
lost is as declared.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log, log1p

_TERMS = 10_000
_PRECISION = 1e-15
_HALVINGS = 60
"""Of the interval from 0 to 1: beyond the precision of a double."""


def binomial_cdf(successes: int, trials: int, share: float) -> float:
    """The probability of at most so many successes, at a true ``share`` from 0 to 1."""
    if successes < 0:
        return 0.0
    if successes >= trials or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    return 1.0 - _incomplete_beta(successes + 1, trials - successes, share)


def clopper_pearson(successes: int, trials: int, confidence: float = 0.99) -> tuple[float, float]:
    """The exact interval of the true share (0 to 1) behind ``successes`` of ``trials``.

    Raises ValueError for counts or a confidence that cannot be.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials}: at least one trial, and no more successes than trials")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: between 0 and 1")
    tail = (1 - confidence) / 2
    low, high = 0.0, 1.0
    if successes > 0:
        low = _crossing(lambda share: 1 - binomial_cdf(successes - 1, trials, share) >= tail)
    if successes < trials:
        high = _crossing(lambda share: binomial_cdf(successes, trials, share) <= tail)
    return low, high


def _crossing(beyond: Callable[[float], bool]) -> float:
    """Where ``beyond`` turns from false to true between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction from the side where that converges fast."""
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1.0 - front * _continued_fraction(b, a, 1 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Lentz's method. The terms alternate between two forms, two a round."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            c = 1.0 + term / c
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            step = c * d
            value *= step
        if abs(step - 1.0) < _PRECISION:
            return value
    raise ArithmeticError(f"the continued fraction did not converge for a={a}, b={b}, x={x}")
