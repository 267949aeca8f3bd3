"""What probes ought to see on a path, and whether they did: tolerances, and exact intervals for what is chance.

The path from one node to another has two shapes: the sender's ``up`` and the receiver's ``down``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.link.train import Train
from testbed.model.interval import binomial_cdf, clopper_pearson
from testbed.model.link_report import LinkVerdict, Measured, Share
from testbed.model.shape import Shape, jitter_quantile
from testbed.units import format_duration_us, format_percent, format_rate_bps

DELAY_TOLERANCE_US = 200.0
DELAY_TOLERANCE = 0.02
"""Delay: within 0.2 ms, or within 2 % above 10 ms."""

RATE_TOLERANCE = 0.03
CONFIDENCE = 0.99
_STEPS = 400
_ENOUGH_OFFERED = 1.08
"""A rate is only tried when so much more than it was offered."""

_BUCKET_S = 0.004
"""What a link may let pass at once after a pause, as time at its rate: the token bucket's own where none is said."""

_STOOD_STILL_US = 1000.0
_STOOD_STILL_PACKETS = 20
"""A gap between arrivals of more than both together is the receiver's, who waited for a CPU, not the link's."""


class Expected:
    """What the two shapes of a path do together."""

    def __init__(self, up: Shape, down: Shape, probe_bits: int) -> None:
        self.shapes = (up, down)
        self.travel_us = np.sort(np.add.outer(_travels(up), _travels(down)).ravel())
        self.loss = _either(up.mean_loss_percent, down.mean_loss_percent)
        self.duplicate = _either(up.duplicate_percent, down.duplicate_percent)
        self.corrupt = _either(up.corrupt_percent, down.corrupt_percent)
        self.reorder = _either(up.reorder_percent, down.reorder_percent)
        rates = [shape.rate_bps for shape in self.shapes if shape.rate_bps]
        self.rate_bps = min(rates) if rates else None
        self.bucket_bits = max([0.0, *((shape.burst_bytes or 0) * 8 for shape in self.shapes)])
        if self.rate_bps:
            self.bucket_bits = max(self.bucket_bits, self.rate_bps * _BUCKET_S)
        self.sending_us = sum(probe_bits / rate * 1e6 for rate in rates)
        self.bursts = any(shape.gemodel is not None for shape in self.shapes)
        self.jitter_us = up.jitter_us + down.jitter_us
        self.correlation = max(up.correlation_percent, down.correlation_percent) / 100

    def quantile_us(self, share: float) -> float:
        """The travel time that so much of the packets that travel do not exceed."""
        return float(np.quantile(self.travel_us, share))

    @property
    def tolerance_us(self) -> float:
        """What a delay may be off."""
        return max(DELAY_TOLERANCE_US, DELAY_TOLERANCE * self.quantile_us(0.5))


def summarise(train: Train, baseline: Train, expected: Expected, flood: Train | None) -> Measured:
    """The numbers of a train; ``flood`` is the one that tried the rate."""
    baseline_us = float(np.median(baseline.delay_us))
    delays = np.sort(train.delay_us[train.first] - baseline_us)
    early = delays < 0.5 * expected.travel_us[0] if expected.reorder else np.zeros(len(delays), dtype=np.bool_)
    travelled = delays[~early]
    low, high = _median_interval(travelled, expected.correlation)
    latest_so_far = np.maximum.accumulate(train.sequence) if len(train.sequence) else train.sequence
    unique = int(train.first.sum())
    p10, p50, p90 = (
        (float(value) for value in np.quantile(travelled, (0.1, 0.5, 0.9))) if len(travelled) else (0.0,) * 3
    )
    rate_low, rate_high = rate_bounds(flood, expected) if flood else (None, None)
    return Measured(
        probes=train.sent,
        baseline_us=baseline_us,
        delay_us=p50,
        delay_low_us=low,
        delay_high_us=high,
        delay_p10_us=p10,
        delay_p90_us=p90,
        jitter_us=float(np.std(travelled)) if len(travelled) else 0.0,
        lost=_share(train.sent - unique - train.corrupted - train.dropped, train.sent),
        duplicated=_share(len(train.sequence) - unique, train.sent),
        corrupted=_share(train.corrupted, train.sent),
        early=_share(int(early.sum()), max(1, unique)),
        overtaken=int((train.sequence < latest_so_far).sum()),
        rate_bps=received_rate(flood) if flood else None,
        rate_low_bps=rate_low,
        rate_high_bps=rate_high,
        offered_bps=flood.offered_bps if flood else None,
    )


def received_rate(train: Train) -> float:
    """Bits a second at the receiver once the queue had filled: the first fifth of what arrived is left out."""
    arrivals = np.sort(train.arrived_us)
    start = len(arrivals) // 5
    if len(arrivals) - start < 2 or arrivals[-1] <= arrivals[start]:
        return 0.0
    return float((len(arrivals) - start - 1) * train.plan.wire_bits / (arrivals[-1] - arrivals[start]) * 1e6)


def rate_bounds(train: Train, expected: Expected) -> tuple[float, float]:
    """The least and the greatest rate that the link can have had, in bits a second.

    A packet is stamped when the receiver comes to it. On a busy machine that may be late, never early: from the first
    sending to the last stamp no more time has passed on the link; and of the time between stamps, that in which the
    receiver stood still may not be the link's.
    """
    arrivals = np.sort(train.arrived_us)
    bits = train.plan.wire_bits
    if len(arrivals) < 2:
        return 0.0, float("inf")
    longest_us = float(arrivals[-1] - expected.travel_us[0])
    low = max(0.0, (len(arrivals) * bits - expected.bucket_bits) / longest_us * 1e6) if longest_us > 0 else 0.0
    gaps = np.diff(arrivals[len(arrivals) // 5 :])
    spacing_us = bits / (expected.rate_bps or float("inf")) * 1e6
    still = gaps > _STOOD_STILL_US + _STOOD_STILL_PACKETS * spacing_us
    shortest_us = float(gaps.sum() - (gaps[still] - spacing_us).sum())
    return low, len(gaps) * bits / shortest_us * 1e6 if shortest_us > 0 else float("inf")


def judge(expected: Expected, measured: Measured, payload: int) -> tuple[LinkVerdict, tuple[str, ...]]:
    """The verdict, and what is off by how much."""
    off = [*_delay_off(expected, measured), *_shares_off(expected, measured, payload)]
    rate_off, unsure = _rate_off(expected, measured)
    off += rate_off
    if off:
        return "off", tuple(off + unsure)
    return ("cannot tell" if unsure else "as declared"), tuple(unsure)


def _delay_off(expected: Expected, measured: Measured) -> list[str]:
    """Whether the interval of the median meets what is allowed. A packet's own sending time may count or not."""
    middle, tolerance = expected.quantile_us(0.5), expected.tolerance_us
    lowest, highest = middle - tolerance, middle + tolerance + expected.sending_us
    if measured.delay_high_us >= lowest and measured.delay_low_us <= highest:
        return []
    miss = lowest - measured.delay_high_us if measured.delay_high_us < lowest else measured.delay_low_us - highest
    return [
        f"delay {_us(measured.delay_us)}, declared {_us(middle)}: off by {_us(abs(measured.delay_us - middle))}, "
        f"{_us(miss)} more than allowed"
    ]


def _shares_off(expected: Expected, measured: Measured, payload: int) -> list[str]:
    """Chance has its interval. Bursts of losses are no independent trials: theirs is widened by the burst length."""
    visible = payload / (payload + 28)  # a bit flipped in a header loses the packet
    hidden = expected.corrupt * (1 - visible)
    checks = (
        ("loss", measured.lost, _either(expected.loss, hidden), _burst_length(expected)),
        ("duplicate", measured.duplicated, expected.duplicate * (1 - expected.loss / 100), 1.0),
        ("corrupt", measured.corrupted, expected.corrupt * (1 - expected.loss / 100) * visible, 1.0),
        ("reorder", measured.early, expected.reorder, 1.0),
    )
    off = []
    for name, share, declared, length in checks:
        low, high = share.low_percent, share.high_percent
        if length > 1:
            trials = max(1, round(share.of / length))
            low, high = (100 * bound for bound in clopper_pearson(round(trials * share.percent / 100), trials))
        if not low - 1e-9 <= declared <= high + 1e-9:
            off.append(
                f"{name} {format_percent(round(share.percent, 3))} ({share.count} of {share.of}), declared "
                f"{format_percent(round(declared, 3))}: outside its 99% interval, {format_percent(round(low, 3))} to "
                f"{format_percent(round(high, 3))}"
            )
    return off


def _rate_off(expected: Expected, measured: Measured) -> tuple[list[str], list[str]]:
    """What is off, and what could not be told."""
    declared, found = expected.rate_bps, measured.rate_bps
    if declared is None or found is None or measured.offered_bps is None:
        return [], []
    text = f"rate {format_rate_bps(round(found))}, declared {format_rate_bps(declared)}"
    lowest = declared * (1 - RATE_TOLERANCE) * (1 - expected.loss / 100)
    highest = declared * (1 + RATE_TOLERANCE)
    if lowest <= found <= highest:
        return [], []
    if found < lowest and measured.offered_bps * (1 - expected.loss / 100) < declared * _ENOUGH_OFFERED:
        offered = format_rate_bps(round(measured.offered_bps))
        return [], [f"{text}: this machine's probes offered only {offered}, too little to try it"]
    if (measured.rate_low_bps or 0.0) <= highest and (measured.rate_high_bps or 0.0) >= lowest:
        return [], [f"{text}: the receiver of the probes had to wait for a CPU for too long to tell"]
    return [f"{text}: {abs(found / declared - 1) * 100:.1f}% {'more' if found > highest else 'less'}"], []


def _burst_length(expected: Expected) -> float:
    """Packets between independent draws of a Gilbert-Elliott state, about."""
    lengths = [
        (2 - model.p_percent / 100 - model.r_percent / 100) / ((model.p_percent + model.r_percent) / 100)
        for model in (shape.gemodel for shape in expected.shapes)
        if model is not None
    ]
    return max([1.0, *lengths])


def travel_span_us(shape: Shape) -> float:
    """Between the shortest travel and the longest."""
    travels = _travels(shape)
    return float(travels[-1] - travels[0])


def _travels(shape: Shape) -> NDArray[np.float64]:
    """Travel times at equal steps of probability."""
    if not shape.jitter_us:
        return np.asarray([float(shape.delay_us)])
    draws = [jitter_quantile(shape.distribution, (step + 0.5) / _STEPS) for step in range(_STEPS)]
    travels: NDArray[np.float64] = np.maximum(0.0, shape.delay_us + shape.jitter_us * np.asarray(draws))
    return travels


def _median_interval(ordered: NDArray[np.float64], correlation: float) -> tuple[float, float]:
    """Order statistics that hold the true median with 99 % certainty; correlated draws count for fewer."""
    count = len(ordered)
    if count == 0:
        return 0.0, 0.0
    effective = max(1, round(count * (1 - correlation) / (1 + correlation)))
    low = 0
    while low < effective // 2 and binomial_cdf(low, effective, 0.5) <= (1 - CONFIDENCE) / 2:
        low += 1
    rank = round(low / effective * count)
    return float(ordered[max(0, rank - 1)]), float(ordered[min(count - 1, count - rank)])


def _share(count: int, of: int) -> Share:
    low, high = clopper_pearson(min(max(count, 0), of), of, CONFIDENCE)
    return Share(count=max(count, 0), of=of, low_percent=100 * low, high_percent=100 * high)


def _either(first: float, second: float) -> float:
    return 100 * (1 - (1 - first / 100) * (1 - second / 100))


def _us(value: float) -> str:
    return format_duration_us(round(value))
