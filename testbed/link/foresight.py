"""What delays a train of probes has behind declared shapes: it is drawn many times, as the backends decide it.

A draw knows all that a formula would have to leave out: packets that a rate keeps in order, draws that hang on the one
before, two shapes behind each other, probes that are lost on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from testbed.link.train import TrainPlan
from testbed.model.shape import Distribution, Shape, jitter_quantile

CONFIDENCE = 0.999
"""Of each test of a direction. There are seven (three quantiles, four shares): together they err in less than 1 %."""

QUANTILES = (0.1, 0.5, 0.9)
_DEVIATIONS = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
_DRAWS = 400_000
_FEWEST_TRAINS, _MOST_TRAINS = 40, 300
_EARLY_US = 1000.0
_GRID: NDArray[np.float64] = np.linspace(-6.0, 6.0, 2401)
"""Normal numbers; beyond, no jitter is left to be had."""

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Hop:
    """One shape of a path. ``ordered``: whoever does its rate does its jitter too, and lets nothing overtake."""

    shape: Shape
    ordered: bool = False

    @classmethod
    def alone(cls, shape: Shape) -> Hop:
        """As one backend does all of it."""
        return cls(shape, bool(shape.rate_bps and shape.jitter_us))

    @property
    def shortest_us(self) -> float:
        """The shortest travel of what is not let through at once, all but one in 800."""
        return float(_travels_us(self.shape, np.asarray(jitter_quantile(self.shape.distribution, 1 / 800))))


@dataclass(frozen=True)
class Foreseen:
    """Delays of a train as declared. ``chance_us`` is how far chance alone may move each of the quantiles of what
    travels; infinite when nothing arrives. ``early_share`` is the share of what arrives before ``early_us``."""

    quantiles_us: tuple[float, ...]
    chance_us: tuple[float, ...]
    early_us: float
    early_share: float


@lru_cache(maxsize=64)
def foresee(path: tuple[Hop, Hop], plan: TrainPlan) -> Foreseen:
    """What the plan's train finds on the path: the sender's ``up`` and the receiver's ``down``."""
    early_us = _early_us(path)
    if not any(hop.shape.jitter_us for hop in path) and not early_us:
        delay_us = float(sum(hop.shape.delay_us for hop in path))
        return Foreseen((delay_us,) * 3, (0.0,) * 3, 0.0, 0.0)
    draws = np.random.default_rng(1)
    trains = max(_FEWEST_TRAINS, min(_MOST_TRAINS, _DRAWS // plan.count))
    sent_us = np.repeat(np.arange(plan.count, dtype=np.float64)[:, None] * plan.interval_us, trains, axis=1)
    arrived_us = sent_us
    for hop in path:
        arrived_us = _crossed(hop, arrived_us, draws)
    delays_us = arrived_us - sent_us
    quantiles = np.asarray(list(_quantiles(delays_us, early_us)))
    if not len(quantiles):
        return Foreseen((0.0,) * 3, (float("inf"),) * 3, early_us, 0.0)
    arrived = int(np.isfinite(delays_us).sum())
    return Foreseen(
        tuple(quantiles.mean(axis=0).tolist()),
        tuple((_DEVIATIONS * quantiles.std(axis=0)).tolist()),
        early_us,
        float((delays_us < early_us).sum() / arrived),
    )


def _early_us(path: tuple[Hop, Hop]) -> float:
    """Below which delay a probe counts as let through at once; 0 where nothing is.

    Where jitter itself makes some travels as short, they count as well, as foreseen.
    """
    skipped = [hop.shape.delay_us for hop in path if hop.shape.reorder_percent]
    if not skipped:
        return 0.0
    shortest, middle = sum(hop.shortest_us for hop in path), sum(hop.shape.delay_us for hop in path)
    return max(shortest - min(skipped) / 2, min(middle / 2, _EARLY_US))


def _quantiles(delays_us: Times, early_us: float) -> Iterator[Times]:
    for train in delays_us.T:
        travelled = train[train >= early_us]  # not-a-number, what was lost, compares false
        if len(travelled):
            yield np.quantile(travelled, QUANTILES)


def _crossed(hop: Hop, at_us: Times, draws: np.random.Generator) -> Times:
    """When each packet of each train (a column) has crossed; not-a-number when it is lost."""
    shape = hop.shape
    travels_us: Times = np.full(at_us.shape, float(shape.delay_us))
    if shape.jitter_us:
        jitters = np.interp(_normals(at_us.shape, shape, draws), _GRID, _table(shape.distribution))
        travels_us = _travels_us(shape, jitters)
    at_once = draws.random(at_us.shape) < shape.reorder_percent / 100
    crossed = at_us + travels_us
    if shape.mean_loss_percent:
        crossed[draws.random(at_us.shape) < shape.mean_loss_percent / 100] = np.nan
    if hop.ordered:
        order = np.argsort(at_us, axis=0)
        held = np.take_along_axis(np.where(at_once, np.nan, crossed), order, axis=0)
        in_order = np.empty_like(crossed)
        np.put_along_axis(in_order, order, np.fmax.accumulate(held, axis=0), axis=0)
        crossed = np.where(np.isnan(crossed), np.nan, in_order)
    return np.where(at_once & ~np.isnan(crossed), at_us, crossed)


def _normals(size: tuple[int, ...], shape: Shape, draws: np.random.Generator) -> Times:
    """What jitter is drawn from, each number of a train bound to the one before by the correlation."""
    numbers = draws.standard_normal(size)
    bound = shape.correlation_percent / 100
    if bound:
        fresh = (1 - bound**2) ** 0.5
        for index in range(1, len(numbers)):
            numbers[index] = bound * numbers[index - 1] + fresh * numbers[index]
    return numbers


def _travels_us(shape: Shape, jitters: Times) -> Times:
    travels: Times = np.maximum(0.0, shape.delay_us + shape.jitter_us * jitters)
    return travels


@cache
def _table(distribution: Distribution) -> Times:
    """Jitters that belong to the numbers of the grid."""
    shares = (min(max(NormalDist().cdf(number), 1e-12), 1 - 1e-12) for number in _GRID)
    return np.asarray([jitter_quantile(distribution, share) for share in shares])
