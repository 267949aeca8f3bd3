"""Rates that suit this machine: finds each server's knee with a few short trials and places rates around the knees.

The paper's rates end at 30,000 requests/s because its server did. The knee is the highest rate at which nearly every
request is answered.
"""

from __future__ import annotations

from collections.abc import Callable

from testbed.engine.lab import Lab
from testbed.engine.point import observe
from testbed.engine.recording import record_of
from testbed.engine.sweep import Point
from testbed.errors import RunError
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server

_FIRST_RATE = 2_000.0
_LAST_RATE = 512_000.0
_ANSWERED = 0.95
"""Of what was sent. Lower is past the knee."""

_HALVINGS = 3
"""After the doubling, the knee lies between two rates; each trial halves the gap: to an eighth of it in the end."""

_TRIAL = Profile(rates_per_s=(_FIRST_RATE,), warm_up_s=0.2, window_s=0.5, client_timeout_s=0.5)
SHARES = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0)
"""Of the highest knee: the straight part, the bend, and well past it. Lower knees get the rates beside themselves."""

_BESIDE = (0.9, 1.1)
_ROUND_TO = 100


def find_rates(lab: Lab, scenario: Scenario, seed: int, tell: Callable[[str], None]) -> tuple[float, ...]:
    """The rates for a scenario, ascending, in requests/s. ``tell`` hears each knee as it is found.

    Every server is tried beside the largest idle population. Raises RunError where even the first rate is past a knee.
    """
    knees = {}
    for server in scenario.servers:
        knees[server.label] = _knee(lab, scenario, server, seed)
        tell(f"{server.label} answers up to about {knees[server.label]:,.0f}/s")
    return around(list(knees.values()))


def around(knees: list[float]) -> tuple[float, ...]:
    """Rates around knees: spread over the highest, two beside each of the others; none within 4 % of another."""
    highest = max(knees)
    wanted = [highest * share for share in SHARES]
    wanted += [knee * share for knee in knees if knee < highest for share in _BESIDE]
    rates: list[float] = []
    for rate in sorted(wanted):
        rounded = max(_ROUND_TO, round(rate / _ROUND_TO) * _ROUND_TO)
        if not rates or rounded > rates[-1] * 1.04:
            rates.append(float(rounded))
    return tuple(rates)


def _knee(lab: Lab, scenario: Scenario, server: Server, seed: int) -> float:
    def answered(rate: float) -> bool:
        point = Point(server, rate, max(scenario.idle_counts), 0, bool(scenario.access))
        record = record_of(scenario, point, observe(lab, scenario, _TRIAL, point, seed))
        return record.replies_per_s >= _ANSWERED * record.sent_per_s and record.sent_per_s > _ANSWERED * rate * 0.9

    return knee_between(answered, _FIRST_RATE, _LAST_RATE, server.label)


def knee_between(answered: Callable[[float], bool], first: float, last: float, label: str) -> float:
    """The highest rate found to be answered: doubling from ``first``, then halving the gap."""
    if not answered(first):
        raise RunError(f"{label} does not answer {first:,.0f} requests/s: give rates_per_s instead of auto")
    low = first
    while low * 2 <= last and answered(low * 2):
        low *= 2
    high = low * 2
    for _ in range(_HALVINGS if high <= last else 0):
        middle = (low + high) / 2
        if answered(middle):
            low = middle
        else:
            high = middle
    return low
