"""Every mechanism of the µserver beside nginx and lighttpd: CPU time per reply below the knee, and peak replies/s."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from testbed.engine.calibration import SHARES, find_rates
from testbed.engine.lab import Lab
from testbed.engine.point import observe, prepare
from testbed.engine.recording import record_of
from testbed.engine.scenario_file import load_scenario
from testbed.engine.sweep import Point
from testbed.engine.under_test.base import by_kind
from testbed.model.record import Record
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server, mechanisms
from testbed.workload.trace import Trace
from tests.benchmark.outcome import Outcome

_ROUNDS = 3
_BELOW = 5_000.0
_AROUND = (1.0, 1.3, 1.7)
"""A peak is the best of these rates, as multiples of the highest rate that epoll-et answered when it was looked for."""

_REQUESTS = 20
"""In a session, to tell what a request costs from what a connection costs."""

_PROFILE = Profile(rates_per_s=(_BELOW,), window_s=2)
_PEERS = Path(__file__).parents[2] / "scenarios" / "peers.py"
_OTHERS = ("select", "poll", "epoll-et", "epoll2", "epoll-ctlv", "rtsig", "aio-poll", "io_uring")


def main() -> list[Outcome]:
    """All servers in turn, several rounds; ratios are medians of the rounds' own ratios."""
    peers = load_scenario(_PEERS)
    scenario = peers.model_copy(update={"servers": (*peers.servers, *mechanisms(*_OTHERS)), "idle_connections": 0})
    costs: dict[str, list[float]] = {server.label: [] for server in scenario.servers}
    sessions: dict[str, list[float]] = {server.label: [] for server in scenario.servers}
    peaks: dict[str, list[float]] = {server.label: [] for server in scenario.servers}
    with Lab(name="bench-servers") as lab, ExitStack() as stack:
        kept = _in_sessions(scenario, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for kind, servers in by_kind(scenario.servers):
            stack.callback(kind.clean_up, lab, servers)
            kind.prepare(lab, scenario, servers)
        prepare(lab, kept, seed=1)
        knee = _knee(lab, scenario)
        for turn in range(_ROUNDS):
            for server in scenario.servers:
                costs[server.label].append(_cost(_measure(lab, scenario, server, _BELOW, turn)))
                sessions[server.label].append(_cost(_measure(lab, kept, server, _BELOW, turn)))
                tried = [_measure(lab, scenario, server, knee * share, turn).replies_per_s for share in _AROUND]
                peaks[server.label].append(max(tried))
    for label in costs:
        cost, kept_cost, peak = (median(values[label]) for values in (costs, sessions, peaks))
        print(f"{label}: {cost:.1f} µs/reply, {kept_cost:.1f} in sessions, peak {peak:,.0f} replies/s", flush=True)
    return [
        Outcome("CPU per reply, epoll-lt ÷ nginx", _ratio(costs, "epoll-lt", "nginx"), "×", 0.65, at_least=False),
        Outcome("CPU per reply, epoll-lt ÷ lighttpd", _ratio(costs, "epoll-lt", "lighttpd"), "×"),
        Outcome(f"the same, {_REQUESTS} requests a connection, ÷ nginx", _ratio(sessions, "epoll-lt", "nginx"), "×"),
        Outcome(
            f"the same, {_REQUESTS} requests a connection, ÷ lighttpd", _ratio(sessions, "epoll-lt", "lighttpd"), "×"
        ),
        Outcome("peak replies/s, epoll-lt ÷ nginx", _ratio(peaks, "epoll-lt", "nginx"), "×"),
        Outcome("peak replies/s, epoll-lt ÷ lighttpd", _ratio(peaks, "epoll-lt", "lighttpd"), "×"),
        Outcome("CPU per reply, io_uring ÷ epoll-et", _ratio(costs, "io_uring", "epoll-et"), "×"),
        Outcome("peak replies/s, io_uring ÷ epoll-et", _ratio(peaks, "io_uring", "epoll-et"), "×", 1.15),
    ]


def _in_sessions(scenario: Scenario, folder: Path) -> Scenario:
    """The same file, asked for many times on each connection."""
    documents = folder / "documents"
    documents.mkdir()
    for name, content in scenario.workload.documents().items():
        (documents / name).write_bytes(content)
    (folder / "sessions").write_text("/1.bin\n" * _REQUESTS + "\n")
    return scenario.model_copy(update={"workload": Trace(path=folder / "sessions", folder=documents)})


def _knee(lab: Lab, scenario: Scenario) -> float:
    """The highest rate that epoll-et answers on this machine now, in requests/s."""
    alone = scenario.model_copy(update={"servers": mechanisms("epoll-et")})
    return max(find_rates(lab, alone, _PROFILE, 1, lambda text: print(text, flush=True))) / max(SHARES)


def _measure(lab: Lab, scenario: Scenario, server: Server, rate: float, turn: int) -> Record:
    point = Point(server, rate, 0, turn + 1)
    record = record_of(scenario, point, observe(lab, scenario, _PROFILE, point, seed=1))
    seen = f"{record.replies_per_s:,.0f} replies/s, {_cost(record):.1f} µs/reply, {scenario.workload.name}"
    print(f"{record.point}: {seen}: {record.verdict.value} {'; '.join(record.reasons)}", flush=True)
    return record


def _cost(record: Record) -> float:
    """CPU of the whole server node or container in µs per reply."""
    return float(record.server_cpu_us_per_reply or 0)


def _ratio(values: dict[str, list[float]], over: str, under: str) -> float:
    return median(a / b for a, b in zip(values[over], values[under], strict=True))
