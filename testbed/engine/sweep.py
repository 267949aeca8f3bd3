"""Which points a run has, and in which order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import mean

from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server


@dataclass(frozen=True)
class Point:
    """One measurement: a server at an offered rate (requests/s over all clients) beside idle connections, n-th time.

    ``access``: whether the clients' hosts have the scenario's access links.
    """

    server: Server
    offered_per_s: float
    idle_connections: int
    repetition: int
    access: bool = False

    @property
    def key(self) -> str:
        """What identifies the point within its run; ``--resume`` compares it."""
        links = ", access links" if self.access else ""
        return f"{self.server.label} @ {self.offered_per_s:g}/s, {self.idle_connections} idle{links} #{self.repetition}"


def points(scenario: Scenario, profile: Profile, seed: int) -> list[Point]:
    """All points. Every repetition holds all combinations once, in a seeded random order: drift hits all alike."""
    shuffle = random.Random(f"sweep {scenario.name} {seed}")
    ordered: list[Point] = []
    for repetition in range(1, profile.repetitions + 1):
        block = [
            Point(server, rate, idle, repetition, access)
            for rate in profile.rates_per_s
            for idle, access in _surroundings(scenario, rate)
            for server in scenario.servers
        ]
        shuffle.shuffle(block)
        ordered.extend(block)
    return ordered


def _surroundings(scenario: Scenario, rate: float) -> list[tuple[int, bool]]:
    """Beside how many idle connections, and whether with access links; no pair twice."""
    wanted = [(idle, bool(scenario.access)) for idle in scenario.idle_counts]
    connections_per_s = rate / scenario.workload.requests_per_connection
    wanted += [(round(connections_per_s * seconds), False) for seconds in scenario.idle_stand_ins_s]
    return list(dict.fromkeys(wanted))


def point_seed(seed: int, point: Point) -> int:
    """The seed of a point's arrivals: the same for all servers at one rate, so that they face the same traffic."""
    return random.Random(f"point {seed} {point.offered_per_s:g} {point.repetition}").getrandbits(31)


_OVERHEAD_S = 0.6
"""Start and end of the programs of one point (measured: 0.5 to 0.8 s with eight clients)."""

_IDLE_PER_10_000_S = 0.9
"""Time to bring up the idle population, per 10,000 connections (measured)."""


def estimate_s(scenario: Scenario, profile: Profile, count: int) -> float:
    """How long ``count`` points are expected to take, in seconds, without bringing the lab up."""
    idle = mean(scenario.idle_counts) / 10_000 * _IDLE_PER_10_000_S
    cool_down = profile.cool_down_s or 0.0
    each = profile.warm_up_s + profile.window_s + min(profile.client_timeout_s, 1.0) + cool_down + idle + _OVERHEAD_S
    return count * each
