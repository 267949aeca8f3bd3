"""What probes ought to see on a path, and whether they did: tolerances, and exact intervals for what is chance.

The path from one node to another has two shapes: the sender's ``up`` and the receiver's ``down``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from testbed.link.foresight import CONFIDENCE, QUANTILES, Hop, foresee
from testbed.link.plans import burst_length, tolerance_us
from testbed.link.train import Train, TrainPlan
from testbed.model.interval import clopper_pearson
from testbed.model.link_report import LinkVerdict, Measured, Share
from testbed.units import format_duration_us, format_percent, format_rate_bps

RATE_TOLERANCE = 0.03
_ENOUGH_OFFERED = 1.08
"""A rate is only tried when so much more than it was offered."""

_FEWEST_EVENTS = 5
"""A share is only judged when so many losses (or duplicates, …) were to be expected; bursts count once."""

_CROWDED = 0.05
"""When so many probes went out together with the next, they waited for each other on the way: the sender's fault."""

_BUCKET_S = 0.004
"""What a link may let pass at once after a pause, as time at its rate: the token bucket's own where none is said."""

_STOOD_STILL_US = 1000.0
_STOOD_STILL_PACKETS = 20
"""A gap between arrivals of more than both together is the receiver's, who waited for a CPU, not the link's."""

_HEADERS = 28
"""Bytes of a probe's IP and UDP headers."""


class Expected:
    """What the two shapes of a path do together to the train of ``plan``, which is to tell the delays."""

    def __init__(self, path: tuple[Hop, Hop], plan: TrainPlan) -> None:
        up, down = (hop.shape for hop in path)
        self.shapes = [up, down]
        self.foreseen = foresee(path, plan)
        self.tolerance_us = tolerance_us(path, self.foreseen)
        self.shortest_us = sum(hop.shortest_us for hop in path)
        self.loss = _either(up.mean_loss_percent, down.mean_loss_percent)
        self.duplicate = _either(up.duplicate_percent, down.duplicate_percent)
        self.corrupt = _either(up.corrupt_percent, down.corrupt_percent)
        self.visible = plan.payload / (plan.payload + _HEADERS)
        """Of the bits that are flipped, those that can be seen: one in a header loses the packet."""
        rates = [shape.rate_bps for shape in self.shapes if shape.rate_bps]
        self.rate_bps = min(rates) if rates else None
        self.bucket_bits = max([0.0, *((shape.burst_bytes or 0) * 8 for shape in self.shapes)])
        if self.rate_bps:
            self.bucket_bits = max(self.bucket_bits, self.rate_bps * _BUCKET_S)
        self.sending_us = sum(plan.wire_bits / rate * 1e6 for rate in rates)
        bound = max(up.correlation_percent, down.correlation_percent) / 100
        self.bound_draws = (1 + bound) / (1 - bound)


def summarise(trains: Sequence[Train], baseline: Train, expected: Expected, flood: Train | None) -> Measured:
    """The numbers of the spaced trains, the first tells the delays; ``flood`` is the one that tried the rate."""
    baseline_us = float(np.median(baseline.delay_us))
    delays = trains[0].delay_us[trains[0].first] - baseline_us
    early = (delays < expected.foreseen.early_us) & (expected.foreseen.early_us > 0)
    travelled = delays[~early]
    sent, unique = sum(train.sent for train in trains), sum(int(train.first.sum()) for train in trains)
    arrived, corrupted = sum(len(train.sequence) for train in trains), sum(train.corrupted for train in trains)
    lost = sent - unique - corrupted - sum(train.dropped for train in trains)
    p10, p50, p90 = (float(value) for value in np.quantile(travelled, QUANTILES)) if len(travelled) else (0.0,) * 3
    rate_low, rate_high = rate_bounds(flood, expected) if flood else (None, None)
    return Measured(
        probes=sent,
        travelled=len(travelled),
        baseline_us=baseline_us,
        delay_us=p50,
        delay_p10_us=p10,
        delay_p90_us=p90,
        delay_foreseen_us=expected.foreseen.quantiles_us[1],
        jitter_us=float(np.std(travelled)) if len(travelled) else 0.0,
        crowded_percent=100 * trains[0].crowded,
        lost=_share(lost, sent),
        duplicated=_share(arrived - unique, sent),
        corrupted=_share(corrupted, sent),
        early=_share(int(early.sum()), max(1, len(delays))),
        overtaken=sum(train.overtaken for train in trains),
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
    longest_us = float(arrivals[-1] - expected.shortest_us)
    low = max(0.0, (len(arrivals) * bits - expected.bucket_bits) / longest_us * 1e6) if longest_us > 0 else 0.0
    gaps = np.diff(arrivals[len(arrivals) // 5 :])
    spacing_us = bits / (expected.rate_bps or float("inf")) * 1e6
    still = gaps > _STOOD_STILL_US + _STOOD_STILL_PACKETS * spacing_us
    shortest_us = float(gaps.sum() - (gaps[still] - spacing_us).sum())
    return low, len(gaps) * bits / shortest_us * 1e6 if shortest_us > 0 else float("inf")


def judge(expected: Expected, measured: Measured) -> tuple[LinkVerdict, tuple[str, ...]]:
    """The verdict, and what is off by how much, or what could not be told."""
    off, unsure = [], []
    for test in (_delay_off, _shares_off, _rate_off):
        more_off, more_unsure = test(expected, measured)
        off += more_off
        unsure += more_unsure
    if off:
        return "off", tuple(off + unsure)
    return ("cannot tell" if unsure else "as declared"), tuple(unsure)


def _delay_off(expected: Expected, measured: Measured) -> tuple[list[str], list[str]]:
    """Whether the quantiles are where they must be, give or take the tolerance and chance."""
    chance_us = expected.foreseen.chance_us[1]
    if not measured.travelled:
        nothing_may_arrive = expected.loss == 100 or not np.isfinite(chance_us)
        return [], [] if nothing_may_arrive else ["no probe arrived to tell the delay"]
    early, late = _misses(expected, measured)
    allowed = expected.tolerance_us
    if not early and set(late) == {QUANTILES[-1]}:
        # A link with less jitter than declared, or more, shows elsewhere too; a machine that is busy shows here alone.
        return [], [f"{late[QUANTILES[-1]]}: the link, or this machine, which was busy"]
    misses = {**late, **early}
    if misses and not early and expected.rate_bps and measured.crowded_percent > 100 * _CROWDED:
        share = format_percent(round(measured.crowded_percent, 1))
        return [], [f"{misses[max(misses)]}: {share} of the probes were sent late, together with the next"]
    if misses:
        return [misses[0.5]] if 0.5 in misses else list(misses.values()), []
    if chance_us > allowed:
        return [], [
            f"delay {_us(measured.delay_us)}: among so few probes chance moves the median by {_us(chance_us)}, "
            f"and {_us(allowed)} is what it may be off"
        ]
    return [], []


def _misses(expected: Expected, measured: Measured) -> tuple[dict[float, str], dict[float, str]]:
    """Which quantiles are too early, and which too late. A packet's own sending time may count or not."""
    early: dict[float, str] = {}
    late: dict[float, str] = {}
    seen = (measured.delay_p10_us, measured.delay_us, measured.delay_p90_us)
    foreseen = expected.foreseen
    for share, found, middle, chance in zip(QUANTILES, seen, foreseen.quantiles_us, foreseen.chance_us, strict=True):
        lowest = middle - expected.tolerance_us - chance
        highest = middle + expected.tolerance_us + chance + expected.sending_us
        miss = max(lowest - found, found - highest)
        if not miss > 0:
            continue
        name = "delay" if share == 0.5 else f"{share:.0%} quantile of the delay"
        (early if found < lowest else late)[share] = (
            f"{name} {_us(found)}, declared {_us(middle)}: off by {_us(abs(found - middle))}, "
            f"{_us(miss)} more than allowed"
        )
    return early, late


def _shares_off(expected: Expected, measured: Measured) -> tuple[list[str], list[str]]:
    """Chance has its interval; what comes in bursts counts as fewer trials."""
    hidden, survive = expected.corrupt * (1 - expected.visible), 1 - expected.loss / 100
    duplicate, bursts = expected.duplicate * survive, burst_length(expected.shapes)
    corrupt, early = expected.corrupt * survive * expected.visible, 100 * expected.foreseen.early_share
    checks = (
        ("loss", measured.lost, _either(expected.loss, hidden), expected.loss, bursts),
        ("duplicate", measured.duplicated, duplicate, duplicate, 1.0),
        ("corrupt", measured.corrupted, corrupt, corrupt, 1.0),
        ("reorder", measured.early, early, early, expected.bound_draws),
    )
    off, unsure = [], []
    for name, share, declared, asked, length in checks:
        low, high = share.low_percent, share.high_percent
        trials = max(1, round(share.of / length))
        if length > 1:
            low, high = _interval(round(trials * share.percent / 100), trials)
        found = f"{name} {format_percent(round(share.percent, 3))} ({share.count} of {share.of}), declared "
        found += format_percent(round(declared, 3))
        if not low - 1e-9 <= declared <= high + 1e-9:
            interval = f"{format_percent(round(low, 3))} to {format_percent(round(high, 3))}"
            off.append(f"{found}: outside its {CONFIDENCE:.1%} interval, {interval}")
        elif 0 < trials * asked / 100 < _FEWEST_EVENTS:
            unsure.append(f"{found}: too few probes to tell")
    return off, unsure


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


def _interval(count: int, of: int) -> tuple[float, float]:
    low, high = clopper_pearson(count, of, CONFIDENCE)
    return 100 * low, 100 * high


def _share(count: int, of: int) -> Share:
    low, high = _interval(min(max(count, 0), of), of)
    return Share(count=max(count, 0), of=of, low_percent=low, high_percent=high)


def _either(first: float, second: float) -> float:
    return 100 * (1 - (1 - first / 100) * (1 - second / 100))


def _us(value: float) -> str:
    return format_duration_us(round(value))
