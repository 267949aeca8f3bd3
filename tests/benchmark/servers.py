"""Every mechanism of the µserver beside nginx and lighttpd: CPU time per reply below the knee, and peak replies/s.

Both are counted alike (``in_group``). Rounds of all servers, each in an order of its own; a comparison is made of the
rounds in which both sides have a valid point.
"""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from testbed.engine.calibration import find_knee
from testbed.engine.lab import Lab
from testbed.engine.point import observe, prepare
from testbed.engine.recording import record_of
from testbed.engine.scenario_file import load_scenario
from testbed.engine.sweep import Point
from testbed.engine.under_test.base import by_kind
from testbed.errors import RunError
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server, ServerImage
from testbed.model.topology import Topology
from testbed.topology.default import default_topology
from testbed.workload.trace import Trace
from tests.benchmark.in_group import in_group
from tests.benchmark.outcome import Outcome, paired

_ROUNDS = 3
_BELOW = 5_000.0
_AROUND = (1.0, 1.3, 1.7)
"""A peak is the best of these rates, as multiples of the highest rate that epoll-et answered when it was looked for."""

_KNEE_OF = "epoll-et"
_REQUESTS = 20
"""In a session, to tell what a request costs from what a connection costs."""

_PROFILE = Profile(rates_per_s=(_BELOW,), window_s=2)

_COST, _SESSION_COST, _PEAK = "CPU per reply", f"CPU per reply, {_REQUESTS} requests a connection", "peak replies/s"
_COMPARED = (
    (_COST, "epoll-lt", "nginx", 0.65),
    (_COST, "epoll-lt", "lighttpd", None),
    (_SESSION_COST, "epoll-lt", "nginx", None),
    (_SESSION_COST, "epoll-lt", "lighttpd", None),
    (_PEAK, "epoll-lt", "nginx", None),
    (_PEAK, "epoll-lt", "lighttpd", None),
    (_COST, "io_uring", "epoll-et", None),
    (_PEAK, "io_uring", "epoll-et", 1.15),
)
"""Quantity, server, the one that it is divided by, and the goal of the ratio."""

_Seen = dict[tuple[str, str], list[float | None]]
"""Quantity and server: what each round gave, None where no point was valid."""


def main() -> list[Outcome]:
    """All servers in turn, several rounds; what cannot run here is named and left out."""
    seen: _Seen = defaultdict(list)
    with Lab(_world(), name="bench-servers") as lab, ExitStack() as stack:
        scenario = _scenario(lab)
        kept = _in_sessions(scenario, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for kind, servers in by_kind(scenario.servers):
            stack.callback(kind.clean_up, lab, servers)
            kind.prepare(lab, scenario, servers)
        prepare(lab, kept, seed=1)
        by_label = {server.label: server for server in scenario.servers}
        if _KNEE_OF not in by_label:
            raise RunError(f"{_KNEE_OF} cannot run here, and rates are chosen by what it answers")
        knee, _ = find_knee(lab, scenario, _PROFILE, by_label[_KNEE_OF], seed=1)
        for turn in range(_ROUNDS):
            for server in random.Random(turn).sample(scenario.servers, len(scenario.servers)):
                seen[_COST, server.label].append(_cost(_measure(lab, scenario, server, _BELOW, turn)))
                seen[_SESSION_COST, server.label].append(_cost(_measure(lab, kept, server, _BELOW, turn)))
                tried = [_measure(lab, scenario, server, knee * share, turn) for share in _AROUND]
                peaks = [record.replies_per_s for record in tried if record is not None]
                seen[_PEAK, server.label].append(max(peaks, default=None))
    for (quantity, label), values in sorted(seen.items()):
        valid = [value for value in values if value is not None]
        print(f"{label}: {quantity} {f'{median(valid):,.1f}' if valid else 'unknown'}, {len(valid)} rounds", flush=True)
    return [outcome for compared in _COMPARED for outcome in _compared(seen, *compared)]


def _world() -> Topology:
    """The default world with one client on each network: two generators of a CPU offer more than eight, and the fastest
    server answers more than eight can offer in time."""
    whole = default_topology()
    first = {node.networks: node.name for node in reversed(whole.nodes) if node.role == "client"}
    nodes = tuple(node for node in whole.nodes if node.role == "server" or node.name in first.values())
    return whole.model_copy(update={"nodes": nodes})


def _scenario(lab: Lab) -> Scenario:
    """The peers and every mechanism that the program has, without those that cannot run here."""
    peers = load_scenario("peers")
    listed = lab.run(lab.server.name, ["userver", "--list-mechs"])
    if listed.status != 0:
        raise RunError(f"userver cannot list its mechanisms: {listed.stderr.strip()}")
    others = tuple(server for server in peers.servers if isinstance(server, ServerImage))
    servers: tuple[Server, ...] = (*others, *in_group(*listed.stdout.split()))
    refused: dict[str, str] = {}
    for kind, own in by_kind(servers):
        refused.update(kind.unavailable(lab, own))
    for label, reason in refused.items():
        print(f"{label} is not measured: {reason}", flush=True)
    able = tuple(server for server in servers if server.label not in refused)
    return peers.model_copy(update={"servers": able, "idle_connections": 0})


def _in_sessions(scenario: Scenario, folder: Path) -> Scenario:
    """The same file, asked for many times on each connection."""
    documents = folder / "documents"
    documents.mkdir()
    for name, content in scenario.workload.documents().items():
        (documents / name).write_bytes(content)
    (folder / "sessions").write_text("/1.bin\n" * _REQUESTS + "\n")
    return scenario.model_copy(update={"workload": Trace(path=folder / "sessions", folder=documents)})


def _measure(lab: Lab, scenario: Scenario, server: Server, rate: float, turn: int) -> Record | None:
    """The point's record if it is valid."""
    point = Point(server, rate, 0, turn + 1)
    record = record_of(scenario, point, observe(lab, scenario, _PROFILE, point, seed=1))
    cost = "no reply" if record.server_cpu_us_per_reply is None else f"{record.server_cpu_us_per_reply:.1f} µs/reply"
    seen = f"{record.replies_per_s:,.0f} replies/s, {cost}, {scenario.workload.name}"
    print(f"{record.point}: {seen}: {record.verdict.value} {'; '.join(record.reasons)}", flush=True)
    return record if record.verdict is Verdict.VALID else None


def _cost(record: Record | None) -> float | None:
    return None if record is None else record.server_cpu_us_per_reply


def _compared(seen: _Seen, quantity: str, over: str, under: str, goal: float | None) -> list[Outcome]:
    pairs = zip(seen.get((quantity, over), []), seen.get((quantity, under), []), strict=False)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    if not ratios:
        print(f"{quantity}, {over} ÷ {under}: no round has a valid point of both", flush=True)
        return []
    return [paired(f"{quantity}, {over} ÷ {under}", ratios, goal, at_least=quantity == _PEAK)]
