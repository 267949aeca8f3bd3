"""Which trains measure a path: how many probes, how far apart.

What jitter does to delays, and what is lost, repeated or corrupted by chance, needs many probes. Where a rate keeps
packets in order one train cannot serve both: probes that follow each other closely mostly wait for a late one ahead,
and their delays say little about the jitter; probes far apart are few. There each gets its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.link.foresight import Foreseen, Hop, foresee
from testbed.link.train import TrainPlan
from testbed.model.shape import Distribution, Shape

DELAY_TOLERANCE_US = 200.0
DELAY_TOLERANCE = 0.02
JITTER_TOLERANCE = 0.1
"""A delay may be off by 0.2 ms, or 2 % above 10 ms, or a tenth of the jitter, whichever is most."""

WANTED_EVENTS = 20
"""Losses (or duplicates, …) that a train should see, so that its interval says something."""

_WIDE_US, _CLOSE_US = 250.0, 50.0
"""Between probes: what does no harm anywhere, and what a patient plan comes down to."""

_LEAST_PROBES, _MOST_PROBES = 400, 60_000
_FEWEST_PROBES = 20
_MARGIN = 0.8
_TRIAL = 400
_ORDERED_SPACING: dict[Distribution, float] = {"uniform": 0.25, "normal": 0.25, "pareto": 2.0}
"""In jitters, where a rate keeps order: what tells most about the delays in a given time."""

_FLOOD_PAYLOAD = 1400
_FLOOD_OVER = 1.3


@dataclass(frozen=True)
class Effort:
    """How long each of a direction's trains may take at most, in seconds: one that tells chance or jitter, one that
    tells the jitter of what a rate keeps in order, and at least the one that tries the rate."""

    spaced_s: float = 3.0
    ordered_s: float = 8.0
    flood_s: float = 0.4


def tolerance_us(path: tuple[Hop, Hop], foreseen: Foreseen) -> float:
    """What each quantile of the delays may be off."""
    jitter_us = float(np.hypot(path[0].shape.jitter_us, path[1].shape.jitter_us))
    return max(DELAY_TOLERANCE_US, DELAY_TOLERANCE * foreseen.quantiles_us[1], JITTER_TOLERANCE * jitter_us)


def spaced_plans(path: tuple[Hop, Hop], effort: Effort) -> tuple[TrainPlan, ...]:
    """The train that tells the delays, and where it takes another to tell what happens by chance, that one. Each keeps
    to less than half of any rate."""
    shapes = [hop.shape for hop in path]
    payload = 512 if any(shape.corrupt_percent for shape in shapes) else 64
    bits = TrainPlan(count=1, interval_us=1, payload=payload).wire_bits
    apart_us = max([0.0, *(2.2 * bits / shape.rate_bps * 1e6 for shape in shapes if shape.rate_bps)])
    ordered_us = max(
        [0.0, *(_ORDERED_SPACING[hop.shape.distribution] * hop.shape.jitter_us for hop in path if hop.ordered)]
    )
    events = _probes_for_events(shapes)
    if ordered_us <= max(apart_us, _WIDE_US):
        interval_us = max(apart_us, _WIDE_US)
        wanted = max(events, _probes_for_delays(path, _plan(shapes, _TRIAL, interval_us, payload)))
        return (_within(shapes, wanted, apart_us, payload, effort.spaced_s),)
    wanted = _probes_for_delays(path, _plan(shapes, _TRIAL, ordered_us, payload))
    delays = _plan(shapes, _most(wanted, ordered_us, effort.ordered_s), ordered_us, payload)
    if events <= _LEAST_PROBES:
        return (delays,)
    return (delays, _within(shapes, events, apart_us, payload, effort.spaced_s))


def flood_plan(path: tuple[Hop, Hop], rate_bps: float, loss_percent: float, effort: Effort) -> TrainPlan:
    """A train that offers more than the rate, for long enough to see past its queue, its burst and its jitter."""
    shapes = [hop.shape for hop in path]
    bits = TrainPlan(count=1, interval_us=1, payload=_FLOOD_PAYLOAD).wire_bits
    bursts = max(shape.burst_bytes or 0 for shape in shapes) * 8
    jitter_us = sum(shape.jitter_us for shape in shapes)
    seconds = max(effort.flood_s, 60 * jitter_us / 1e6, 10 * bursts / rate_bps)
    offered = rate_bps * _FLOOD_OVER / (1 - min(loss_percent, 90) / 100)
    count = max(50, min(60_000, round(seconds * offered / bits)))
    interval_us = bits / offered * 1e6
    waiting_s = count * interval_us / 1e6 * (offered / rate_bps - 1)
    return TrainPlan(
        count=count,
        interval_us=interval_us,
        payload=_FLOOD_PAYLOAD,
        settle_ms=30,
        linger_s=sum(shape.longest_us for shape in shapes) / 1e6 + waiting_s + 0.1,
    )


def burst_length(shapes: list[Shape]) -> float:
    """Packets between independent draws of a Gilbert-Elliott state, about; 1 without one."""
    lengths = [
        (2 - model.p_percent / 100 - model.r_percent / 100) / ((model.p_percent + model.r_percent) / 100)
        for model in (shape.gemodel for shape in shapes)
        if model is not None
    ]
    return max([1.0, *lengths])


def _probes_for_events(shapes: list[Shape]) -> int:
    """Enough for what is rare; losses in bursts count once a burst."""
    wanted = [_LEAST_PROBES]
    for shape in shapes:
        if shape.mean_loss_percent:
            wanted.append(round(100 * WANTED_EVENTS * burst_length([shape]) / shape.mean_loss_percent))
        for share in (shape.duplicate_percent, shape.corrupt_percent, shape.reorder_percent):
            if share:
                wanted.append(round(100 * WANTED_EVENTS / share))
    return max(wanted)


def _probes_for_delays(path: tuple[Hop, Hop], trial: TrainPlan) -> int:
    """So many that chance moves the median by less than is tolerated, and the outer quantiles by less than twice it."""
    foreseen = foresee(path, trial)
    tolerated = tolerance_us(path, foreseen) * _MARGIN
    if not np.isfinite(foreseen.chance_us[1]):
        return _LEAST_PROBES
    ratio = max(chance / tolerated * part for chance, part in zip(foreseen.chance_us, (0.5, 1.0, 0.5), strict=True))
    return max(_LEAST_PROBES, int(trial.count * ratio**2))


def _within(shapes: list[Shape], wanted: int, apart_us: float, payload: int, seconds: float) -> TrainPlan:
    """As many as are wanted: closer together where they would take too long, fewer where that is not enough."""
    closer_us = min(_WIDE_US, max(_CLOSE_US, seconds * 1e6 / wanted))
    interval_us = max(apart_us, closer_us)
    return _plan(shapes, _most(wanted, interval_us, seconds), interval_us, payload)


def _most(wanted: int, interval_us: float, seconds: float) -> int:
    return max(_FEWEST_PROBES, min(wanted, _MOST_PROBES, int(seconds * 1e6 / interval_us)))


def _plan(shapes: list[Shape], count: int, interval_us: float, payload: int) -> TrainPlan:
    longest_s = sum(shape.longest_us for shape in shapes) / 1e6
    bits = TrainPlan(count=1, interval_us=1, payload=payload).wire_bits
    return TrainPlan(
        count=count,
        interval_us=interval_us,
        payload=payload,
        settle_ms=30 + round(2000 * longest_s),
        linger_s=longest_s + 0.05 + sum(4 * bits / shape.rate_bps for shape in shapes if shape.rate_bps),
    )
