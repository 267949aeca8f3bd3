"""The µserver beside nginx and lighttpd: CPU time per reply far below the knee, and replies/s far past it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from testbed.engine.lab import Lab
from testbed.engine.point import observe
from testbed.engine.recording import record_of
from testbed.engine.scenario_file import load_scenario
from testbed.engine.sweep import Point
from testbed.engine.under_test.base import by_kind
from testbed.model.record import Record
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server, Userver
from tests.benchmark.outcome import Outcome

_ROUNDS = 3
_BELOW, _PAST = 5_000.0, 30_000.0
_PROFILE = Profile(rates_per_s=(_BELOW,), window_s=2)
_PEERS = Path(__file__).parents[2] / "scenarios" / "peers.py"
_OWN = (Userver(mechanism="epoll-et"), Userver(mechanism="io_uring"), Userver(mechanism="select"))


def main() -> list[Outcome]:
    """All servers in turn, several rounds; ratios are medians of the rounds' own ratios."""
    peers = load_scenario(_PEERS)
    scenario = peers.model_copy(update={"servers": (*peers.servers, *_OWN)})
    costs: dict[str, list[float]] = {server.label: [] for server in scenario.servers}
    peaks: dict[str, list[float]] = {server.label: [] for server in scenario.servers}
    with Lab(name="bench-servers") as lab, ExitStack() as stack:
        for kind, servers in by_kind(scenario.servers):
            stack.callback(kind.clean_up, lab, servers)
            kind.prepare(lab, scenario, servers)
        for turn in range(_ROUNDS):
            for server in scenario.servers:
                costs[server.label].append(_cost(_measure(lab, scenario, server, _BELOW, turn)))
                peaks[server.label].append(_measure(lab, scenario, server, _PAST, turn).replies_per_s)
    for label in costs:
        print(f"{label}: {median(costs[label]):.1f} µs/reply, {median(peaks[label]):,.0f} replies/s at {_PAST:,.0f}/s")
    return [
        Outcome("CPU per reply, epoll-lt ÷ nginx", _ratio(costs, "epoll-lt", "nginx"), "×", 0.65, at_least=False),
        Outcome("CPU per reply, epoll-lt ÷ lighttpd", _ratio(costs, "epoll-lt", "lighttpd"), "×"),
        Outcome("replies/s past the knee, epoll-lt ÷ nginx", _ratio(peaks, "epoll-lt", "nginx"), "×"),
        Outcome("replies/s past the knee, io_uring ÷ epoll-et", _ratio(peaks, "io_uring", "epoll-et"), "×", 1.15),
    ]


def _measure(lab: Lab, scenario: Scenario, server: Server, rate: float, turn: int) -> Record:
    point = Point(server, rate, 0, turn + 1)
    record = record_of(scenario, point, observe(lab, scenario, _PROFILE, point, seed=1))
    print(
        f"{record.point}: {record.replies_per_s:,.0f} replies/s {record.verdict.value} {'; '.join(record.reasons)}",
        flush=True,
    )
    return record


def _cost(record: Record) -> float:
    """CPU of the whole server node or container in µs per reply."""
    return float(record.server_cpu_us_per_reply or 0)


def _ratio(values: dict[str, list[float]], over: str, under: str) -> float:
    return median(a / b for a, b in zip(values[over], values[under], strict=True))
