"""The netem backend on a kernel that has netem: what is declared is read back, and is what datagrams meet.

Not collected by name: ``test_realnetem.py`` runs it, directly where the kernel has netem and else in user-mode-linux.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest

from testbed.engine.lab import Lab
from testbed.errors import UsageError
from testbed.link.base import Endpoint, LinkBackend
from testbed.link.netem import Netem
from testbed.model.shape import Direction, GilbertElliott, Shape
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Completed, Process
from testbed.runtime.netns import NetnsRuntime
from testbed.runtime.netns_state import namespace_path

PROBE = Path(__file__).with_name("datagrams.py").read_text()
PYTHON = f"{sys.base_prefix}/bin/python3"
NAME = f"rn{os.getpid()}"


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
        "client", "net0", "eth0", client.addresses["net0"], Inside(lab, "client"), str(namespace_path(NAME, client))
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


@pytest.mark.parametrize("direction", ["up", "down"])
def test_delay_is_added_in_its_direction_alone(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, direction: Direction
) -> None:
    shape = Shape(delay_us=40_000)
    backend.apply(endpoint, direction, shape)
    assert backend.read_back(endpoint, direction) == shape
    source, target = ends(direction)
    shaped, other = probed(lab, source, target, 40), probed(lab, target, source, 40)
    # The least of them: a busy machine makes single packets later, and none earlier.
    assert 40_000 <= min(shaped.delays_us) < 43_000
    assert min(other.delays_us) < 3_000


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_tenth_of_the_packets_is_lost(
    lab: Lab, backend: LinkBackend, endpoint: Endpoint, direction: Direction
) -> None:
    backend.apply(endpoint, direction, Shape(loss_percent=10))
    arrivals = probed(lab, *ends(direction), 1500, gap_ms=0)
    # Five standard deviations: sqrt(1500 · 0.1 · 0.9) = 11.6.
    assert 150 - 58 <= arrivals.lost <= 150 + 58
    assert len(arrivals.numbers) == len(set(arrivals.numbers))


def test_losses_come_in_bursts(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    shape = Shape(gemodel=GilbertElliott(p_percent=2, r_percent=25))
    backend.apply(endpoint, "up", shape)
    assert backend.read_back(endpoint, "up") == shape
    arrivals = probed(lab, "client", "server", 3000, gap_ms=0)
    gaps = [after - before - 1 for before, after in pairwise(arrivals.numbers) if after > before + 1]
    # Some 55 bursts with a mean of 4 packets and about that deviation: five times 4 / sqrt(55) is 2.7.
    assert 1.3 < mean(gaps) < 6.7
    assert max(gaps) > 4


def test_some_packets_do_not_travel_but_arrive_at_once(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(delay_us=50_000, reorder_percent=50))
    arrivals = probed(lab, "client", "server", 200, gap_ms=1)
    at_once = sum(delay < 50_000 for delay in arrivals.delays_us)
    # Five standard deviations of 200 draws: 35.
    assert 65 <= at_once <= 135
    assert arrivals.numbers != sorted(arrivals.numbers)


def test_rate_is_what_the_receiver_gets(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(rate_bps=10_000_000, limit_pkts=1000))
    size, count = 1400, 300
    arrivals = probed(lab, "client", "server", count, size, gap_ms=0)
    assert arrivals.lost == 0
    on_the_wire = size + 8 + 20 + 14
    seconds = (arrivals.came_us[-1] - arrivals.came_us[0]) / 1e6
    assert (count - 1) * on_the_wire * 8 / seconds == pytest.approx(10e6, rel=0.05)


def test_a_queue_beyond_its_limit_drops(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(rate_bps=1_000_000, limit_pkts=20))
    arrivals = probed(lab, "client", "server", 100, 1000, gap_ms=0)
    assert arrivals.numbers[:20] == list(range(20))
    assert arrivals.lost > 50


def test_jitter_spreads_the_delay(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    shape = Shape(delay_us=30_000, jitter_us=20_000)
    backend.apply(endpoint, "up", shape)
    delays = sorted(probed(lab, "client", "server", 200, gap_ms=2).delays_us)
    assert 10_000 <= delays[0] < 15_000
    assert 16_000 < delays[50] < 26_000
    assert 36_000 < delays[150] < 48_000
    assert delays[-1] > 45_000


def test_duplicates_come_twice(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    backend.apply(endpoint, "up", Shape(duplicate_percent=100))
    assert sorted(probed(lab, "client", "server", 100).numbers[:100:2]) == list(range(50))


def test_a_change_replaces_what_was_there(lab: Lab, backend: LinkBackend, endpoint: Endpoint) -> None:
    for delay_us in (20_000, 80_000, 40_000):
        backend.apply(endpoint, "up", Shape(delay_us=delay_us))
    assert backend.read_back(endpoint, "up") == Shape(delay_us=40_000)
    assert tc(endpoint, "qdisc", "show", "dev", "eth0").count("netem") == 1
    assert 40_000 <= min(probed(lab, "client", "server", 20).delays_us) < 50_000


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
