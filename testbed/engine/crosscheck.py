"""The project's load generator held against httperf: the same server, the same low rates, one tool after the other.

Beside each tool the packets are captured at the server, so that a difference of response times can be told from a
difference of what happened: the server was slower that time, or the tool took longer to react.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from testbed.engine.httperf import RESOLUTION_MS, parse_httperf
from testbed.engine.lab import Lab
from testbed.engine.point import CLIENT_FOLDER, towards
from testbed.engine.program import Line, Program
from testbed.engine.under_test.base import KINDS, PORT
from testbed.engine.wire_times import SNAP_BYTES, wire_times
from testbed.errors import ProgramError, RuntimeFault
from testbed.link.base import Endpoint
from testbed.link.capture import Bounds, Capture
from testbed.link.lab_links import LabLinks
from testbed.model.histogram import Histogram
from testbed.model.placed import PlacedNode
from testbed.model.profiles import PROFILES
from testbed.model.record import Errors
from testbed.model.scenario import Scenario
from testbed.model.server import Userver
from testbed.model.topology import Node
from testbed.model.value import Value
from testbed.model.workload import Workload
from testbed.workload.one_byte import OneByte
from testbed.workload.specweb99 import SpecWeb99

RATES_PER_S = (100, 400)
"""Requests/s. Low, because httperf knows 1024 descriptors and spins; beyond, it measures itself."""

ROUNDS = 3
"""Each tool in turn, this often. Of each, the least disturbed round is compared, the one with the shortest times: what
else a machine does only adds to them, and most to those of a tool that spins and must wait for its next turn."""

SECONDS = 2
_TIMEOUT_S = 5
_RUN_TIMEOUT_S = SECONDS + _TIMEOUT_S + 20
_NODE = "original"
_SEED = 1
_NS_PER_MS = 1e6
TOLERANCE = 0.10
"""How far mean response times may lie apart without an explanation, and how much of one may stay unexplained."""

_MAX_PACKETS = 100_000


class Row(Value):
    """What one tool saw in one round.

    ``response_ms`` is the mean from the start of a connection or request to the reply's last byte, as the tool says,
    which may be off by ``resolution_ms``; ``server_ms`` and ``client_ms`` are its two parts as captured at the server
    (``testbed.engine.wire_times``). ``cpu_share`` is the tool's own CPU time ÷ the time it ran.
    """

    workload: str
    rate_per_s: float
    tool: str
    connections: int
    requests: int
    replies: int
    errors: Errors
    response_ms: float
    resolution_ms: float
    cpu_share: float
    server_ms: float = 0.0
    client_ms: float = 0.0

    @property
    def beyond_wire_ms(self) -> float:
        """How much longer the tool's response time is than what its packets show."""
        return self.response_ms - self.server_ms - self.client_ms


class Comparison(Value):
    """A tool beside the original at one load, over all rounds.

    ``counts`` says where connections, requests, replies or errors differ in any round ("" if nowhere); ``ratio`` is
    response time ÷ the original's, in the least disturbed round of each. ``difference_ms`` is what lies between them:
    ``server_ms`` and ``client_ms`` of it are in the packets, ``beyond_ms`` is not, so that there the tools themselves
    disagree; ``allowed_ms`` is how much that may be.
    """

    workload: str
    rate_per_s: float
    tool: str
    counts: str
    ratio: float
    difference_ms: float
    server_ms: float
    client_ms: float
    beyond_ms: float
    allowed_ms: float

    @property
    def close(self) -> bool:
        """Whether the response times lie within the tolerance."""
        return abs(self.ratio - 1) <= TOLERANCE

    @property
    def explained(self) -> bool:
        """Whether the packets show the difference, but for the tolerance and what the tools' figures are rounded by."""
        return abs(self.beyond_ms) <= self.allowed_ms

    @property
    def agrees(self) -> bool:
        """The tool sees what the original sees."""
        return not self.counts and (self.close or self.explained)


def crosscheck(lab: Lab, tell: Callable[[Row], None]) -> list[Row]:
    """Run all tools at all rates under both workloads; ``tell`` hears each row as it is measured."""
    rows: list[Row] = []
    server = LabLinks(lab.runtime, lab.placed).endpoint(lab.server.name, next(iter(lab.clients[0].addresses)))
    for workload in (OneByte(), SpecWeb99(directories=1, sessions_per_client=400)):
        with _prepared(lab, workload) as scenario:
            for rate in RATES_PER_S:
                for tool in (_httperf, _socket_engine, _packet_engine) * ROUNDS:
                    rows.append(_captured(server, partial(tool, lab, scenario, rate)))
                    tell(rows[-1])
    return rows


def _captured(server: Endpoint, run: Callable[[], Row]) -> Row:
    """The row of one tool, with what the packets at the server say of it."""
    capture = Capture(server, Bounds(seconds=_RUN_TIMEOUT_S, packets=_MAX_PACKETS, snap_bytes=SNAP_BYTES))
    with capture:
        row = run()
    captured = capture.fetch()
    if captured.dropped:
        raise RuntimeFault(f"the capture beside {row.tool} lost {captured.dropped} packets")
    wire = wire_times(captured.pcap, PORT)
    return row.model_copy(update={"server_ms": wire.server_ms, "client_ms": wire.client_ms})


def compare(rows: list[Row]) -> list[Comparison]:
    """Each tool against the first one, at each load."""
    by_load: dict[tuple[str, float], dict[str, list[Row]]] = {}
    for row in rows:
        by_load.setdefault((row.workload, row.rate_per_s), {}).setdefault(row.tool, []).append(row)
    return [
        _compared(next(iter(tools.values())), own) for tools in by_load.values() for own in list(tools.values())[1:]
    ]


def _compared(original: list[Row], own: list[Row]) -> Comparison:
    theirs, ours = (min(rows, key=lambda row: row.response_ms) for rows in (original, own))
    return Comparison(
        workload=ours.workload,
        rate_per_s=ours.rate_per_s,
        tool=ours.tool,
        counts=_differing_counts(original, own),
        ratio=ours.response_ms / theirs.response_ms if theirs.response_ms else float("inf"),
        difference_ms=ours.response_ms - theirs.response_ms,
        server_ms=ours.server_ms - theirs.server_ms,
        client_ms=ours.client_ms - theirs.client_ms,
        beyond_ms=ours.beyond_wire_ms - theirs.beyond_wire_ms,
        allowed_ms=TOLERANCE * theirs.response_ms + ours.resolution_ms + theirs.resolution_ms,
    )


def _differing_counts(original: list[Row], own: list[Row]) -> str:
    """The first count in which a round differs from the original's same round."""
    for theirs, ours in zip(original, own, strict=True):
        for what in ("connections", "requests", "replies", "errors"):
            if getattr(ours, what) != getattr(theirs, what):
                return f"{what} {getattr(ours, what)} against {getattr(theirs, what)}"
    return ""


@contextmanager
def _prepared(lab: Lab, workload: Workload) -> Iterator[Scenario]:
    """Documents and traces in place, and the container of the originals in the first client's network."""
    scenario = Scenario(
        name="crosscheck",
        title="Cross-check",
        sentence="The tools agree.",
        servers=(Userver(mechanism="epoll-lt"),),
        workload=workload,
        profiles=PROFILES,
    )
    client = lab.clients[0]
    KINDS.get("userver").prepare(lab, scenario, scenario.servers)
    node = Node(name=_NODE, image="original", build="original", tmpfs=("/tmp",), shares_network_of=client.name)
    lab.add(PlacedNode(node=node, addresses={}, cpuset=client.cpuset))
    try:
        files = workload.client_files(0, 1, _SEED)
        for name in (client.name, _NODE) if files else ():
            lab.put_files(name, CLIENT_FOLDER, files)
        yield scenario
    finally:
        lab.discard(_NODE)


def _sessions(scenario: Scenario, rate: float) -> tuple[float, int]:
    """Connections a second, and how many there are in all."""
    connections_per_s = rate / scenario.workload.requests_per_connection
    return connections_per_s, round(connections_per_s * SECONDS)


def _httperf(lab: Lab, scenario: Scenario, rate: float) -> Row:
    per_s, count = _sessions(scenario, rate)
    target = lab.placed.gateway_of(lab.clients[0], lab.server)[1]
    command = ["httperf", "--hog", "--server", target, "--port", str(PORT), "--rate", f"{per_s:.4f}"]
    command += ["--timeout", str(_TIMEOUT_S)]
    flags = list(scenario.workload.client_flags(CLIENT_FOLDER))
    if flags[0] == "--uri":
        command += ["--uri", flags[1], "--num-conns", str(count)]
    else:
        command += ["--wsesslog", f"{count},0,{flags[1]}"]
    with KINDS.get("userver").start(lab, scenario, scenario.servers[0]) as server:
        httperf = lab.start(_NODE, command)
        httperf.prefer()
        status = httperf.wait(_RUN_TIMEOUT_S)
        server.finish()
    text = "\n".join(httperf.lines(0.0))
    if status != 0:
        raise ProgramError(f"httperf failed: {httperf.stderr().strip() or text}")
    result = parse_httperf(text)
    # httperf times replies from the request on; the connections' set-up is spread over their replies.
    connect_ms = result.connect_ms * result.connections / max(result.replies, 1)
    return Row(
        workload=scenario.workload.name,
        rate_per_s=rate,
        tool="httperf",
        connections=result.connections,
        requests=result.requests,
        replies=result.replies_2xx,  # loadgen counts no others: they are its errors of class other
        errors=result.errors,
        response_ms=connect_ms + result.response_ms + result.transfer_ms,
        resolution_ms=RESOLUTION_MS * (2 + result.connections / max(result.replies, 1)),
        cpu_share=result.cpu_s / result.duration_s,
    )


def _socket_engine(lab: Lab, scenario: Scenario, rate: float) -> Row:
    """From the client's own address, as httperf does it."""
    own = lab.placed.gateway_of(lab.clients[0], lab.server)[0]
    return _loadgen(lab, scenario, rate, "socket", f"{own}/32")


def _packet_engine(lab: Lab, scenario: Scenario, rate: float) -> Row:
    return _loadgen(lab, scenario, rate, "packet")


def _loadgen(lab: Lab, scenario: Scenario, rate: float, engine: str, hosts: str | None = None) -> Row:
    per_s, _ = _sessions(scenario, rate)
    client = lab.clients[0]
    command = ["loadgen", "--engine", engine, *towards(lab, client, PORT, hosts=hosts)]
    command += scenario.workload.client_flags(CLIENT_FOLDER)
    command += ["--rate", f"{per_s:.4f}", "--arrival", "deterministic", "--warm-up", "0s", "--window", f"{SECONDS}s"]
    command += ["--timeout", f"{_TIMEOUT_S}s"]
    with KINDS.get("userver").start(lab, scenario, scenario.servers[0]) as server:
        with Program.launch(lab, client.name, command, first=True) as program:
            summary = program.finish(_RUN_TIMEOUT_S, ask=False)
        server.finish()
    return _row(scenario, rate, engine, summary)


def _row(scenario: Scenario, rate: float, engine: str, summary: Line) -> Row:
    window: dict[str, Any] = summary["window"]
    response = Histogram.merged([window["response_actual_ns"]])
    return Row(
        workload=scenario.workload.name,
        rate_per_s=rate,
        tool=f"loadgen, {engine} engine",
        connections=int(summary["attempted"]),
        requests=int(summary["requests"]),
        replies=int(summary["replies"]),
        errors=Errors(**{name: summary["errors"][name] for name in Errors.model_fields}),
        response_ms=response.sum / max(response.count, 1) / _NS_PER_MS,
        resolution_ms=0.0,
        cpu_share=float(summary["cpu_us"]) / 1e6 / float(window["seconds"]),
    )
