"""The netem backend on a kernel that has netem: what is declared is read back, and is what datagrams meet.

Not collected by name: ``test_realnetem.py`` runs it, directly where the kernel has netem and else in user-mode-linux.
Where the kernel has netem, ``test_link_conformance.py`` judges it as every other backend, by its own limits. In
user-mode-linux that suite says nothing about time: one CPU, on which a probe waits 2 to 30 ms for its turn, where a
delay may be off by 0.2. So what is measured here allows for that, and says no more than that the numbers are the
declared ones.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import pytest

from testbed.engine.lab import Lab
from testbed.errors import UsageError
from testbed.link.base import Endpoint, LinkBackend
from testbed.link.netem import Netem
from testbed.model.interval import clopper_pearson
from testbed.model.shape import Direction, Distribution, GilbertElliott, Shape, jitter_quantile
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Completed, Process
from testbed.runtime.netns import NetnsRuntime
from testbed.runtime.netns_state import namespace_path
from tests.integration.attempts import CannotTell, holds

PROBE = Path(__file__).with_name("datagrams.py").read_text()
BULK = Path(__file__).with_name("bulk.py").read_text()
PYTHON = f"{sys.base_prefix}/bin/python3"
NAME = f"rn{os.getpid()}"
SLOW_KERNEL_US = 800
"""What the least delay of 40 may be off: the best moment of the slow kernel, not its usual one."""

SLOW_KERNEL_RATE = 0.05
"""What a rate may be off there: a receiver that waits for the CPU at either end of a train of a second at most."""

DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal", "pareto")


@dataclass(frozen=True)
class Inside:
    """A node as a place for programs."""

    lab: Lab
    node: str

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        return self.lab.run(self.node, command, timeout_s)

    def start(self, command: Sequence[str]) -> Process:
        return self.lab.start(self.node, command)


@dataclass(frozen=True)
class Arrivals:
    """What came of so many datagrams."""

    sent: int
    numbers: list[int]
    delays_us: list[int]
    came_us: list[int]

    @property
    def lost(self) -> int:
        return self.sent - len(set(self.numbers))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    nodes = tuple(
        Node(name=name, role=role, image="any", networks=("net0",), cap_add=("NET_ADMIN",))
        for name, role in (("server", "server"), ("client", "client"))
    )
    # The runtime itself, not its name: asking for a name imports all of them, which takes seconds in user-mode-linux.
    with Lab(Topology(networks=(Network(name="net0"),), nodes=nodes), name=NAME, runtime=NetnsRuntime()) as lab:
        probed(lab, "client", "server", 5)  # the first packet waits for ARP
        yield lab


@pytest.fixture(scope="module")
def backend() -> LinkBackend:
    return Netem()


@pytest.fixture
def endpoint(lab: Lab, backend: LinkBackend) -> Iterator[Endpoint]:
    """The client's interface, unshaped again afterwards."""
    client = lab.placed.node("client")
    endpoint = Endpoint(
        "client",
        "net0",
        "eth0",
        client.addresses["net0"],
        Inside(lab, "client"),
        str(namespace_path(NAME, client)),
        (f"/run/netns/tb-{NAME}",),
    )
    yield endpoint
    for direction in ("up", "down"):
        backend.remove(endpoint, direction)
    assert "netem" not in tc(endpoint, "qdisc", "show")
    assert "ifb" not in tc(endpoint, "-d", "qdisc", "show")


def tc(endpoint: Endpoint, *arguments: str) -> str:
    command = ["ip", "netns", "exec", Path(str(endpoint.namespace)).name, "tc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def probed(lab: Lab, source: str, target: str, count: int, size: int = 64, gap_ms: float = 2.0) -> Arrivals:
    """Send datagrams from one node to another."""
    address = lab.placed.node(target).addresses["net0"]
    receiver = lab.start(target, [PYTHON, "-I", "-S", "-c", PROBE, "receive", address, str(count)])
    assert receiver.lines(20) == ["ready"], receiver.stderr()
    sent = lab.run(source, [PYTHON, "-I", "-S", "-c", PROBE, "send", address, str(count), str(size), str(gap_ms)], 60)
    assert sent.status == 0, sent.stderr
    assert receiver.wait(30) == 0, receiver.stderr()
    return Arrivals(count, **json.loads(receiver.lines(1)[0]))


def ends(direction: Direction) -> tuple[str, str]:
    """Source and target of the packets that a direction of the client is about."""
    return ("client", "server") if direction == "up" else ("server", "client")


@pytest.mark.parametrize(("down_ms", "up_ms"), [(1, 20), (100, 5)])
def test_delays_of_an_asymmetric_pair(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, down_ms: int, up_ms: int
) -> None:
    declared: dict[Direction, int] = {"down": 1000 * down_ms, "up": 1000 * up_ms}

    def complaint() -> str | None:
        unshaped = {direction: least_us(lab, direction) for direction in declared}
        for direction, delay_us in declared.items():
            backend.apply(endpoint, direction, Shape(delay_us=delay_us))
            assert backend.read_back(endpoint, direction) == Shape(delay_us=delay_us)
        added = {direction: least_us(lab, direction) - unshaped[direction] for direction in declared}
        for direction in declared:
            backend.remove(endpoint, direction)
        off = [direction for direction in declared if abs(added[direction] - declared[direction]) > SLOW_KERNEL_US]
        return f"declared {declared}, added {added}" if off else None

    holds(complaint)


def least_us(lab: Lab, direction: Direction) -> int:
    """The least delay of some packets: a busy machine makes single ones later, and none earlier."""
    return min(probed(lab, *ends(direction), 40).delays_us)


@pytest.mark.parametrize(
    ("direction", "percent", "count"), [("up", 0.1, 6000), ("down", 1, 3000), ("up", 10, 1500), ("down", 10, 1500)]
)
def test_as_many_packets_as_declared_are_lost(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, direction: Direction, percent: float, count: int
) -> None:
    backend.apply(endpoint, direction, Shape(loss_percent=percent))

    def complaint() -> str | None:
        arrivals = probed(lab, *ends(direction), count, gap_ms=0)
        assert len(arrivals.numbers) == len(set(arrivals.numbers))
        low, high = clopper_pearson(arrivals.lost, count, 0.999)
        return None if low <= percent / 100 <= high else f"{arrivals.lost} of {count} lost, declared {percent} %"

    holds(complaint)


def test_losses_come_in_bursts(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    shape = Shape(gemodel=GilbertElliott(p_percent=2, r_percent=25))
    backend.apply(endpoint, "up", shape)
    assert backend.read_back(endpoint, "up") == shape

    def complaint() -> str | None:
        arrivals = probed(lab, "client", "server", 3000, gap_ms=0)
        bursts = [after - before - 1 for before, after in pairwise(arrivals.numbers) if after > before + 1]
        # Each burst ends after a packet with probability r, so the exact interval is that of its ends.
        low, high = clopper_pearson(len(bursts), sum(bursts), 0.999)
        return None if low <= 0.25 <= high else f"{len(bursts)} bursts of {mean(bursts):.2f} packets"

    holds(complaint)


def test_some_packets_do_not_travel_but_arrive_at_once(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(delay_us=50_000, reorder_percent=50))

    def complaint() -> str | None:
        arrivals = probed(lab, "client", "server", 200, gap_ms=1)
        assert arrivals.numbers != sorted(arrivals.numbers)
        at_once = sum(delay < 50_000 for delay in arrivals.delays_us)
        low, high = clopper_pearson(at_once, 200, 0.999)
        return None if low <= 0.5 <= high else f"{at_once} of 200 arrived at once"

    holds(complaint)


def test_a_corrupted_packet_fails_its_check_sum(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(corrupt_percent=10))

    def complaint() -> str | None:
        lost = probed(lab, "client", "server", 1500, gap_ms=0).lost
        low, high = clopper_pearson(lost, 1500, 0.999)
        return None if low <= 0.1 <= high else f"{lost} of 1500 came with a wrong check sum, declared 10 %"

    holds(complaint)


@pytest.mark.parametrize(("mbit", "count"), [(1, 60), (10, 300), (100, 900)])
def test_rate_is_what_the_receiver_gets(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, mbit: int, count: int
) -> None:
    """A gigabit is more than this kernel's system calls can offer, and on a busy machine a tenth of it is, at times."""
    backend.apply(endpoint, "up", Shape(rate_bps=mbit * 10**6))
    size = 1400
    bits = (count - 1) * (size + 8 + 20 + 14) * 8

    def complaint() -> str | None:
        arrivals = probed(lab, "client", "server", count, size, gap_ms=0)
        waited_us = arrivals.delays_us[-1]
        if waited_us < 0.1 * bits / mbit:  # then the sender was hardly faster than the link
            raise CannotTell(f"{mbit} Mbit/s were not offered: the last packet waited {waited_us} us only")
        found = bits / (arrivals.came_us[-1] - arrivals.came_us[0])
        fits = not arrivals.lost and abs(found / mbit - 1) < SLOW_KERNEL_RATE
        return None if fits else f"{found:.2f} Mbit/s and {arrivals.lost} lost, declared {mbit}"

    holds(complaint)


def test_a_queue_beyond_its_limit_drops(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(rate_bps=1_000_000, limit_pkts=20))
    arrivals = probed(lab, "client", "server", 100, 1000, gap_ms=0)
    assert arrivals.numbers[:20] == list(range(20))
    assert arrivals.lost > 50


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_jitter_has_the_declared_distribution(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, distribution: Distribution
) -> None:
    """Kolmogorov and Smirnov's distance to the declared quantiles, with this kernel's own noise on top: that of a
    constant delay in the same moment. By chance 1.95 sqrt(1/n + 1/m) is exceeded once in a thousand times."""
    constant = Shape(delay_us=200_000)
    shape = Shape(delay_us=200_000, jitter_us=50_000, distribution=distribution)
    count, steps = 400, 4000
    declared = [jitter_quantile(distribution, (step + 0.5) / steps) * shape.jitter_us for step in range(steps)]

    def complaint() -> str | None:
        backend.apply(endpoint, "up", constant)
        noise = probed(lab, "client", "server", count, gap_ms=2).delays_us
        backend.apply(endpoint, "up", shape)
        found = sorted(probed(lab, "client", "server", count, gap_ms=2).delays_us)
        draw = random.Random(1)
        expected = sorted(jitter + draw.choice(noise) for jitter in declared)
        distance = max(abs(bisect(found, value) / count - bisect(expected, value) / steps) for value in expected)
        return None if distance < 1.95 * (1 / count + 1 / steps) ** 0.5 else f"distance {distance:.3f}"

    holds(complaint)


def test_what_tcp_sends_is_handled_packet_by_packet(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    """Offload would have 60 KiB travel, and be lost, as one packet."""
    backend.apply(endpoint, "up", Shape(delay_us=300_000))
    address = lab.placed.node("server").addresses["net0"]
    receiver = lab.start("server", [PYTHON, "-I", "-S", "-c", BULK, "receive"])
    assert receiver.lines(20) == ["ready"], receiver.stderr()
    sender = lab.start("client", [PYTHON, "-I", "-S", "-c", BULK, address])
    sizes: list[float] = []
    while not sender.lines(0.05):
        (root,) = (of for of in json.loads(tc(endpoint, "-json", "-s", "qdisc", "show")) if of["kind"] == "netem")
        sizes += [root["backlog"] / root["qlen"]] if root["qlen"] else []
    assert sizes, "it was never seen with something on the way"
    assert median(sizes) < 2 * 1514
    assert receiver.wait(30) == 0


def test_duplicates_come_twice(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(duplicate_percent=100))
    assert sorted(probed(lab, "client", "server", 100).numbers[:100:2]) == list(range(50))


def test_a_change_replaces_what_was_there(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    for delay_us in (20_000, 80_000, 40_000):
        backend.apply(endpoint, "up", Shape(delay_us=delay_us))
    assert backend.read_back(endpoint, "up") == Shape(delay_us=40_000)
    assert tc(endpoint, "qdisc", "show", "dev", "eth0").count("netem") == 1
    assert 40_000 <= least_us(lab, "up") < 79_000


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_prepared_change_comes_at_its_moment(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, direction: Direction
) -> None:
    backend.hold(endpoint, direction)
    assert backend.read_back(endpoint, direction) == Shape(), "a netem that does nothing"
    normal = Shape(delay_us=20_000, jitter_us=5_000, distribution="normal")
    for shape in (Shape(delay_us=30_000), normal, Shape()):
        moment_ns = time.monotonic_ns() + 200_000_000
        planned = backend.plan(endpoint, direction, shape, moment_ns)
        assert planned.outcome(60) >= moment_ns
        planned.cancel()
        assert backend.read_back(endpoint, direction) == shape
    backend.remove(endpoint, direction)
    assert backend.read_back(endpoint, direction) is None


def test_a_foreign_qdisc_is_not_touched(backend: LinkBackend, endpoint: Endpoint) -> None:
    tc(
        endpoint,
        "qdisc",
        "add",
        "dev",
        "eth0",
        "root",
        "handle",
        "77:",
        "tbf",
        *["rate", "1mbit", "burst", "10kb", "limit", "9kb"],
    )
    before = tc(endpoint, "qdisc", "show", "dev", "eth0")
    with pytest.raises(UsageError, match="77:"):
        backend.apply(endpoint, "up", Shape(delay_us=1000))
    backend.remove(endpoint, "up")
    assert tc(endpoint, "qdisc", "show", "dev", "eth0") == before
    tc(endpoint, "qdisc", "del", "dev", "eth0", "root")


def test_nothing_is_set_where_nothing_was_applied(backend: LinkBackend, endpoint: Endpoint) -> None:
    assert backend.read_back(endpoint, "up") is None
    assert backend.read_back(endpoint, "down") is None
