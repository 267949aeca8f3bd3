"""Measures an endpoint in both directions with probes that are no part of any backend, and reports.

Trains of each direction: over loopback (what the probes themselves cost on this machine, now), spaced ones across the
link (delay, jitter, loss, duplicates, order, corruption), and where a rate is declared one that offers more than it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from testbed.link.base import Endpoint
from testbed.link.choose import read_back, same, set_by
from testbed.link.foresight import Hop
from testbed.link.judge import Expected, judge, summarise
from testbed.link.plans import Effort, flood_plan, spaced_plans
from testbed.link.train import TrainPlan, run_train
from testbed.model.link_report import LinkReport, LinkVerdict
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape

_LOOPBACK = "127.0.0.1"
_BASELINE = TrainPlan(count=200, interval_us=1000, settle_ms=15, linger_s=0.02)


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
    endpoint: Endpoint,
    via: Endpoint,
    direction: Direction,
    declared: LinkShape,
    beside: LinkShape,
    effort: Effort,
    second: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> LinkReport:
    """The report of one direction. What is not as declared is measured once more, inside what ``second`` makes: a true
    fault stays, chance and noise do not."""
    first = _measure_once(endpoint, via, direction, declared, beside, effort)
    if first.verdict == "as declared":
        return first
    with second():
        again = _measure_once(endpoint, via, direction, declared, beside, effort)
    return again.model_copy(
        update={
            "verdict": _of_both(first.verdict, again.verdict),
            "first_verdict": first.verdict,
            "first_deviations": first.deviations,
        }
    )


def _of_both(first: LinkVerdict, again: LinkVerdict) -> LinkVerdict:
    """Off is what was off twice; where the two differ, and neither is as declared, nobody can tell."""
    return again if again in (first, "as declared") else "cannot tell"


def _measure_once(
    endpoint: Endpoint, via: Endpoint, direction: Direction, declared: LinkShape, beside: LinkShape, effort: Effort
) -> LinkReport:
    shape = declared.toward(direction)
    other = beside.toward("up" if direction == "down" else "down")
    backends, found = set_by(endpoint, direction), read_back(endpoint, direction)
    up, down = (other, shape) if direction == "down" else (shape, other)
    source, target = (via, endpoint) if direction == "down" else (endpoint, via)
    path = (_hop(source, "up", up), _hop(target, "down", down))
    plans = spaced_plans(path, effort)
    expected = Expected(path, plans[0])
    baseline = run_train(target.place, target.place, _LOOPBACK, _BASELINE)
    trains = [run_train(source.place, target.place, target.address, plan) for plan in plans]
    flood = None
    if expected.rate_bps is not None:
        plan = flood_plan(path, expected.rate_bps, expected.loss, effort)
        flood = run_train(source.place, target.place, target.address, plan)
    measured = summarise(trains, baseline, expected, flood)
    verdict, deviations = judge(expected, measured)
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


def _hop(endpoint: Endpoint, direction: Direction, shape: Shape) -> Hop:
    """The shape with what only its backends know: whether the one that does the rate keeps the jitter in order."""
    if not (shape.rate_bps and shape.jitter_us):
        return Hop(shape)
    parts = [part for _, part in set_by(endpoint, direction)]
    return Hop(shape, ordered=any(part.rate_bps and part.jitter_us for part in parts))
