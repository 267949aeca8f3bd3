"""Measures an endpoint in both directions with probes that are no part of any backend, and reports.

Three trains a direction: over loopback (what the probes themselves cost on this machine, now), spaced ones across the
link (delay, jitter, loss, duplicates, order, corruption), and where a rate is declared one that offers more than it.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.link.base import Endpoint
from testbed.link.choose import read_back, same, set_by
from testbed.link.judge import Expected, judge, summarise, travel_span_us
from testbed.link.train import Train, TrainPlan, run_train
from testbed.model.link_report import LinkReport
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape

_LOOPBACK = "127.0.0.1"
_BASELINE = TrainPlan(count=200, interval_us=1000, settle_ms=15, linger_s=0.02)
_SPACING_US = 250.0
_FLOOD_PAYLOAD = 1400
_FLOOD_OVER = 1.3
_MOST_PROBES = 8000
_LEAST_PROBES = 400
_WANTED_EVENTS = 20
"""Losses (or duplicates, …) that a train should see, so that its interval says something."""


@dataclass(frozen=True)
class Effort:
    """How long may be spent on each direction's spaced train and on its flood, in seconds."""

    spaced_s: float = 2.0
    flood_s: float = 0.4


def measure(
    endpoint: Endpoint, via: Endpoint, declared: LinkShape, beside: LinkShape, effort: Effort | None = None
) -> list[LinkReport]:
    """Reports of both directions. ``via`` is a neighbour, ``beside`` its own declaration.

    Raises RuntimeFault or ProgramError when there is nothing to judge, for instance because a linkem is gone.
    """
    return [
        measure_direction(endpoint, via, direction, declared, beside, effort or Effort()) for direction in DIRECTIONS
    ]


def measure_direction(
    endpoint: Endpoint, via: Endpoint, direction: Direction, declared: LinkShape, beside: LinkShape, effort: Effort
) -> LinkReport:
    """The report of one direction. What is off is measured once more: a true fault stays, chance and noise do not."""
    first = _measure_once(endpoint, via, direction, declared, beside, effort)
    if first.verdict != "off":
        return first
    second = _measure_once(endpoint, via, direction, declared, beside, effort)
    return second.model_copy(update={"first_deviations": first.deviations})


def _measure_once(
    endpoint: Endpoint, via: Endpoint, direction: Direction, declared: LinkShape, beside: LinkShape, effort: Effort
) -> LinkReport:
    shape = declared.toward(direction)
    other = beside.toward("up" if direction == "down" else "down")
    backends, found = set_by(endpoint, direction), read_back(endpoint, direction)
    up, down = (other, shape) if direction == "down" else (shape, other)
    source, target = (via, endpoint) if direction == "down" else (endpoint, via)
    plan = spaced_plan(up, down, effort)
    expected = Expected(up, down, plan.wire_bits)
    baseline = run_train(target.place, target.place, _LOOPBACK, _BASELINE)
    train = run_train(source.place, target.place, target.address, plan)
    flood = _flood(source, target, expected, up, down, effort)
    measured = summarise(train, baseline, expected, flood)
    verdict, deviations = judge(expected, measured, plan.payload)
    if not same(shape, found):
        verdict, deviations = "off", (f"read back `{found.text()}`, declared `{shape.text()}`", *deviations)
    return LinkReport(
        node=endpoint.node,
        network=endpoint.network,
        direction=direction,
        via=via.node,
        backend=" + ".join(name for name, _ in backends) or "none",
        declared=shape,
        read_back=found,
        beside=other,
        measured=measured,
        verdict=verdict,
        deviations=deviations,
    )


def spaced_plan(up: Shape, down: Shape, effort: Effort) -> TrainPlan:
    """Enough probes for what is rare, at less than half of any rate, within the time.

    Where a rate keeps packets in order a late one holds back those behind it, and their delays are not the declared
    ones any more: there the next probe is not sent before the one ahead must have arrived.
    """
    shares = [
        share
        for shape in (up, down)
        for share in (
            shape.mean_loss_percent,
            shape.duplicate_percent,
            shape.corrupt_percent,
            shape.reorder_percent,
        )
        if share
    ]
    wanted = max([_LEAST_PROBES, *(round(100 * _WANTED_EVENTS / share) for share in shares)])
    payload = 512 if up.corrupt_percent or down.corrupt_percent else 64
    bits = TrainPlan(count=1, interval_us=1, payload=payload).wire_bits
    rates = [shape.rate_bps for shape in (up, down) if shape.rate_bps]
    spans_us = [travel_span_us(shape) for shape in (up, down) if shape.rate_bps]
    interval_us = max([_SPACING_US, *(2.2 * bits / rate * 1e6 for rate in rates), *spans_us])
    count = max(20, min(wanted, _MOST_PROBES, int(effort.spaced_s * 1e6 / interval_us)))
    longest_s = (up.longest_us + down.longest_us) / 1e6
    return TrainPlan(
        count=count,
        interval_us=interval_us,
        payload=payload,
        settle_ms=30 + round(2000 * longest_s),
        linger_s=longest_s + 0.05 + sum(4 * bits / rate for rate in rates),
    )


def _flood(
    source: Endpoint, target: Endpoint, expected: Expected, up: Shape, down: Shape, effort: Effort
) -> Train | None:
    if expected.rate_bps is None:
        return None
    bits = TrainPlan(count=1, interval_us=1, payload=_FLOOD_PAYLOAD).wire_bits
    bursts = max(shape.burst_bytes or 0 for shape in (up, down)) * 8
    seconds = max(effort.flood_s, 60 * expected.jitter_us / 1e6, 10 * bursts / expected.rate_bps)
    offered = expected.rate_bps * _FLOOD_OVER / (1 - min(expected.loss, 90) / 100)
    count = max(50, min(60_000, round(seconds * offered / bits)))
    interval_us = bits / offered * 1e6
    waiting_s = count * interval_us / 1e6 * (1 - expected.rate_bps / offered) * offered / expected.rate_bps
    plan = TrainPlan(
        count=count,
        interval_us=interval_us,
        payload=_FLOOD_PAYLOAD,
        settle_ms=30,
        linger_s=(up.longest_us + down.longest_us) / 1e6 + waiting_s + 0.1,
    )
    return run_train(source.place, target.place, target.address, plan)
