"""The life of one point: fresh server, idle population, warm-up, window, cool-down.

During the window the testbed keeps still: it sleeps, and reads the machine once at each edge.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Self

from testbed.awake import awake
from testbed.engine.kernel import bridge_netfilter
from testbed.engine.lab import Lab
from testbed.engine.measured import cpus_of, sample_host
from testbed.engine.program import Line, Program
from testbed.engine.recording import Bracket, Observation
from testbed.engine.series import intervals_of
from testbed.engine.sweep import Point, point_seed
from testbed.engine.timeline import Armed, Timeline
from testbed.engine.under_test.base import KINDS, Running
from testbed.errors import ProgramError, RunError
from testbed.link.engine_links import links_file
from testbed.model.intervals import Intervals
from testbed.model.placed import PlacedNode
from testbed.model.scenario import SLOW_FILE, Profile, Scenario

CLIENT_FOLDER = "/tmp/testbed"
_LINKS_FILE = "access.links"

_NS_PER_S = 1_000_000_000
_READY_TIMEOUT_S = 20.0
_START_MARGIN_S = 0.15
"""Between telling the clients, which stand ready, of their common start and that start: telling takes some 10 ms."""
_START_ATTEMPTS = 4
"""With 0.15, 0.3, 0.6 and 1.2 s of margin; if a client is late even then, the point is invalid."""
_INTERVAL_S, _FINE_INTERVAL_S = 1.0, 0.1
_STOP_TIMEOUT_S = 10.0
_DRAIN_LIMIT_S = 15.0
_STILL_S = 1.0
"""Closing sockets are waited for so long in all, and no longer when none of them has gone for so long: those try again,
ever more rarely, to reach a host that is gone (a FIN that an access link lost). The next point starts all the same
with a fresh server; how many there are stands in its record as ``sockets_before``, and in this one's as
``sockets_left``."""


def prepare(lab: Lab, scenario: Scenario, seed: int) -> None:
    """Put the workload's files, and that of the access links, where the clients expect them; once per run."""
    access = {_LINKS_FILE: links_file(scenario.access).encode()} if scenario.access else {}
    for index, client in enumerate(lab.clients):
        files = {**scenario.workload.client_files(index, len(lab.clients), seed), **access}
        if files:
            lab.put_files(client.name, CLIENT_FOLDER, files)


def observe(
    lab: Lab, scenario: Scenario, profile: Profile, point: Point, seed: int, timeline: Timeline | None = None
) -> Observation:
    """Measure one point. Raises ProgramError or RunError when it could not be measured at all."""
    timeline = timeline or Timeline(lab, ())
    with ExitStack() as stack:
        stack.enter_context(awake())
        stack.enter_context(timeline.held())
        aside = stack.enter_context(ThreadPoolExecutor(2))
        looking = aside.submit(_look_at_server, lab)
        server = stack.enter_context(KINDS.get(point.server.kind).start(lab, scenario, point.server))
        seen_before = looking.result()  # it took no longer than the server's start: before there are idle connections
        load = _Load(lab, scenario, profile, point, seed, server.port, timeline)
        # The clients, which wait for their start, get ready while the idle population comes to stand. Its programs are
        # in a stack of their own: that one is filled in another thread while this one may be unwound.
        idles = stack.enter_context(_Idles(aside, load))
        clients, late, start_ns, changes = _start_together(stack, load, [idles.coming])
        window_ns = start_ns + int(profile.warm_up_s * _NS_PER_S)
        _sleep_until(window_ns)
        before = _bracket(server)
        _sleep_until(window_ns + int(profile.window_s * _NS_PER_S))
        after = _bracket(server)
        drain_s = profile.client_timeout_s + _STOP_TIMEOUT_S
        client_summaries = _finish_all(clients, drain_s, ask=False)
        looking = aside.submit(_look_at_server, lab)
        idle_summaries = _finish_all(idles.coming.result(), _STOP_TIMEOUT_S, ask=True)
        server_summary = server.finish()
        outcomes, links_off = changes.outcomes(), timeline.off()
        carriers = looking.result().carrier_changes - seen_before.carrier_changes
        carriers -= timeline.carrier_changes(lab.server.name)
    drained_s, sockets_left = _cool_down(lab, profile)
    return Observation(
        before,
        after,
        client_summaries,
        late,
        idle_summaries,
        server.ready,
        server_summary,
        lab.server.cpuset,
        lab.clients[0].cpuset,
        lab.paths,
        False if lab.paths.switched else bridge_netfilter(),
        seen_before.closing_sockets,
        sockets_left,
        drained_s,
        _intervals(load, clients, client_summaries, start_ns),
        tuple(outcomes),
        tuple(links_off),
        carriers,
    )


@dataclass(frozen=True)
class _Load:
    """What the clients of one point are told."""

    lab: Lab
    scenario: Scenario
    profile: Profile
    point: Point
    seed: int
    port: int
    timeline: Timeline

    @property
    def interval_s(self) -> float:
        """Between two lines of counts: short where links change."""
        return _FINE_INTERVAL_S if self.scenario.timeline else _INTERVAL_S


def towards(lab: Lab, node: PlacedNode, port: int, *, hosts: str | None = None) -> list[str]:
    """The flags by which a client program finds the server: addresses, hosts (its own prefix), its interface."""
    own, server = lab.placed.gateway_of(node, lab.server)
    hosts = hosts or node.emulated_prefix
    if hosts is None:
        raise RunError(f"{node.name} has no prefix of emulated hosts: give it emulated_prefix_length in the topology")
    return ["--target", server, "--port", str(port), "--hosts", hosts, "--interface", f"address:{own}"]


class _Idles:
    """The programs that hold the idle connections, as they come up in another thread: ``coming`` has them all.

    A context manager: leaving it kills what runs, and what was being started then.
    """

    def __init__(self, aside: ThreadPoolExecutor, load: _Load) -> None:
        self._load = load
        self._lock = Lock()
        self._started: list[Program] = []
        self._left = False
        self.coming = aside.submit(self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.coming.cancel()
        with self._lock:
            self._left = True
            started = tuple(self._started)
        with ExitStack() as stack:
            for program in started:
                stack.push(program)

    def _start(self) -> list[Program]:
        connections, lab = self._load.point.idle_connections, self._load.lab
        if not connections:
            return []
        if not lab.idles:
            raise RunError("the topology has no node with role 'idle' to hold the idle connections")
        share, rest = divmod(connections, len(lab.idles))
        counts = [share + (1 if index < rest else 0) for index in range(len(lab.idles))]
        wanted = [(node, count) for node, count in zip(lab.idles, counts, strict=True) if count]
        with ThreadPoolExecutor(len(wanted)) as pool:
            programs = list(pool.map(self._start_one, *zip(*wanted, strict=True)))
        for program, (_, count) in zip(programs, wanted, strict=True):
            ready = program.expect("ready", _READY_TIMEOUT_S)
            if int(ready["established"]) < count:
                raise ProgramError(
                    f"idleconn on {program.node} is ready with {ready['established']} of {count} connections"
                )
        return programs

    def _start_one(self, node: PlacedNode, count: int) -> Program:
        lab, scenario = self._load.lab, self._load.scenario
        command = ["idleconn", *towards(lab, node, self._load.port), "--connections", str(count)]
        command += ["--mode", scenario.idle_mode]
        if scenario.idle_mode == "slow-reader":
            command += ["--uri", f"/{SLOW_FILE}", "--read-rate", str(scenario.idle_read_bytes_per_s)]
        program = Program.launch(lab, node.name, command)
        with self._lock:
            self._started.append(program)
            if not self._left:
                return program
        with program:
            raise ProgramError(f"idleconn on {program.node} is not wanted any more")


def _start_all(stack: ExitStack, starts: Sequence[Callable[[], Program]]) -> list[Program]:
    """Start programs at once; those that did start end with the stack, also when one did not."""
    with ThreadPoolExecutor(len(starts)) as pool:
        futures = [pool.submit(start) for start in starts]
    faults = [future.exception() for future in futures]
    programs = [
        stack.enter_context(future.result()) for future, fault in zip(futures, faults, strict=True) if fault is None
    ]
    for fault in faults:
        if fault is not None:
            raise fault
    return programs


def _finish_all(programs: Sequence[Program], timeout_s: float, ask: bool) -> tuple[Line, ...]:
    """The summaries of programs that end at the same time. Raises ProgramError as ``Program.finish`` does."""
    with ThreadPoolExecutor(max(1, len(programs))) as pool:
        return tuple(pool.map(lambda program: program.finish(timeout_s, ask), programs))


def _start_together(
    stack: ExitStack, load: _Load, others: Sequence[Future[Any]]
) -> tuple[list[Program], int, int, Armed]:
    """Start all clients and, once the others are done, tell them of a common first request: the programs, how many
    were late for it, when it is (ns), and the changes of links that will come after it.

    On a busy machine they may be told too late: then all are ended and started again with more time, a few times.
    """
    margin_s = _START_MARGIN_S + load.timeline.arming_s
    for attempt in range(_START_ATTEMPTS):
        with ExitStack() as tried:
            clients = _start_clients(tried, load)
            for other in others:
                other.result()
            start_ns = time.monotonic_ns() + int(margin_s * _NS_PER_S)
            changes = load.timeline.arm(tried, start_ns)
            late = _tell_start(clients, start_ns)
            if not late or attempt == _START_ATTEMPTS - 1:
                stack.push(tried.pop_all())
                return clients, late, start_ns, changes
        margin_s *= 2
    raise AssertionError("the last attempt returns")


def _start_clients(stack: ExitStack, load: _Load) -> list[Program]:
    """Start all clients at once; they stand ready and wait to be told when their load begins."""
    lab, scenario, profile = load.lab, load.scenario, load.profile
    rate = load.point.offered_per_s / scenario.workload.requests_per_connection / len(lab.clients)
    base = point_seed(load.seed, load.point)
    # Before the others of their CPUs, but never before the server. Whether it was granted stands in their summaries.
    first = not {*cpus_of(lab.server.cpuset)} & {*cpus_of(lab.clients[0].cpuset)}

    def start(index: int, node: PlacedNode) -> Program:
        command = ["loadgen", *towards(lab, node, load.port), *scenario.workload.client_flags(CLIENT_FOLDER)]
        command += ["--rate", f"{rate:.6f}", "--arrival", scenario.arrival, "--seed", str(base + index)]
        command += ["--warm-up", f"{profile.warm_up_s:g}s", "--window", f"{profile.window_s:g}s"]
        command += ["--timeout", f"{profile.client_timeout_s:g}s", "--start-at", "stdin"]
        command += ["--interval", f"{load.interval_s:g}s"]
        if load.point.access:
            command += ["--links", f"{CLIENT_FOLDER}/{_LINKS_FILE}", "--links-seed", str(base + index)]
        return Program.launch(lab, node.name, command, first)

    clients = _start_all(stack, [partial(start, *each) for each in enumerate(lab.clients)])
    for client in clients:
        client.expect("ready", _READY_TIMEOUT_S)
    return clients


def _tell_start(clients: Sequence[Program], start_ns: int) -> int:
    """Tell all clients when their load begins; returns how many heard it too late."""
    for client in clients:
        client.tell(str(start_ns))
    return sum(int(client.expect("told", _READY_TIMEOUT_S)["now_ns"]) > start_ns for client in clients)


def _intervals(load: _Load, clients: list[Program], summaries: tuple[Line, ...], start_ns: int) -> Intervals:
    """What the clients counted along the way, by the network on which they reach the server."""
    by_network: dict[str, list[list[Line]]] = {}
    for program, summary in zip(clients, summaries, strict=True):
        node = load.lab.placed.node(program.node)
        network = next(name for name in node.addresses if name in load.lab.server.addresses)
        total = {**summary, "started": summary["attempted"], "errors": sum(summary["errors"].values())}
        by_network.setdefault(network, []).append([*program.intervals, total])
    return intervals_of(by_network, start_ns, load.profile.load_s, load.interval_s)


def _sleep_until(at_ns: int) -> None:
    left = at_ns - time.monotonic_ns()
    if left > 0:
        time.sleep(left / _NS_PER_S)


def _bracket(server: Running) -> Bracket:
    return Bracket(sample_host(), server.usage())


def _cool_down(lab: Lab, profile: Profile) -> tuple[float, int]:
    """Wait as the profile says; returns the seconds that it took, and the sockets that are closing even then."""
    began = time.monotonic()
    if profile.cool_down_s is not None:
        time.sleep(profile.cool_down_s)
    left, fewer_at = _closing_sockets(lab), began
    while profile.cool_down_s is None and left and time.monotonic() - began < _DRAIN_LIMIT_S:
        if time.monotonic() - fewer_at >= _STILL_S:
            break
        time.sleep(0.05)
        before, left = left, _closing_sockets(lab)
        fewer_at = time.monotonic() if left < before else fewer_at
    return time.monotonic() - began, left


def _closing_sockets(lab: Lab) -> int:
    return _look_at_server(lab).closing_sockets


@dataclass(frozen=True)
class _ServerNetwork:
    """The server's network: how often its interfaces have lost or gained their carriers, by the kernel's own count, and
    TCP sockets in it that still have something to send or to hear."""

    carrier_changes: int
    closing_sockets: int


_LISTEN, _TIME_WAIT = "0A", "06"
"""States in /proc/net/tcp (include/net/tcp_states.h). TIME_WAIT costs the next point nothing: its hosts are others."""


def _look_at_server(lab: Lab) -> _ServerNetwork:
    """One command for all: to start one costs an engine more than to read."""
    carriers = [f"/sys/class/net/eth{number}/carrier_changes" for number in range(len(lab.server.addresses))]
    # A server that listens on both families has the sockets of both in tcp6, which is not there where IPv6 is off.
    done = lab.ask(lab.server.name, ["cat", *carriers, "/proc/net/tcp", "/proc/net/tcp6"])
    lines = done.stdout.splitlines()
    changes, sockets = lines[: len(carriers)], [line.split() for line in lines[len(carriers) :]]
    if not all(line.isdigit() for line in changes) or not sockets or any(len(words) < 4 for words in sockets):
        said = done.stderr.strip() or done.stdout[:120]
        raise RunError(f"cannot read the carriers and sockets of {lab.server.name}: {said}")
    states = [words[3] for words in sockets if words[0] != "sl"]
    return _ServerNetwork(sum(map(int, changes)), sum(state not in (_LISTEN, _TIME_WAIT) for state in states))
