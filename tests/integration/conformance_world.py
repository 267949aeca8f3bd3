"""The small world of the conformance suites, made through nothing but the contract of a runtime."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Network

import pytest

from testbed.errors import UsageError
from testbed.model.placed import PlacedTopology
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import RUNTIMES, Process, Runtime
from testbed.runtime.docker_engine import connect
from testbed.runtime.docker_images import BASE_IMAGE, ensure_base_image
from testbed.topology.plan import place
from tests.integration.conftest import available

LAB = f"conf{os.getpid()}"
RUNS_NOTHING = {"fake"}
"""It stands for programs by scripts of its own: what needs real ones is not asked of it."""

ALL = RUNTIMES.names()
REAL = [name for name in ALL if name not in RUNS_NOTHING]


def world() -> Topology:
    """A server on two networks, a client on each, and a node inside the first client's network."""
    common = {"image": BASE_IMAGE, "tmpfs": ("/tmp", "/srv")}
    client = Node(
        name="client0",
        role="client",
        networks=("net0",),
        cap_add=("NET_RAW",),
        sysctls={"net.ipv4.ip_forward": "0"},
        emulated_prefix_length=24,
        **common,
    )
    return Topology(
        networks=(Network(name="net0"), Network(name="net1")),
        nodes=(
            Node(
                name="server",
                role="server",
                networks=("net1", "net0"),
                sysctls={"net.ipv4.tcp_congestion_control": "reno"},
                environment={"COLOUR": "blue"},
                nofile=1000,
                cpuset="0",
                **common,
            ),
            client,
            client.model_copy(update={"name": "client1", "networks": ("net1",)}),
            Node(name="beside", shares_network_of="client0", **common),
        ),
    )


def tiny(node: str = "node", network: str = "net") -> Topology:
    """One node on one network."""
    own = Node(name=node, image=BASE_IMAGE, networks=(network,))
    return Topology(networks=(Network(name=network),), nodes=(own,))


@contextmanager
def standing(runtime: Runtime, lab: str, topology: Topology, fast: bool = True) -> Iterator[PlacedTopology]:
    """A lab, made through nothing but the contract, its nodes from several threads at once.

    ``fast`` asks for the fast path, over which this machine itself does not reach the nodes.
    """
    try:
        placed = _networks(runtime, lab, topology)
        own = [node for node in placed.nodes if node.addresses]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda node: runtime.create_node(placed, node), own))
        for node in placed.nodes:
            if not node.addresses:
                runtime.create_node(placed, node)
        runtime.connect_paths(placed, fast)
        yield placed
    finally:
        runtime.remove(lab)


def _networks(runtime: Runtime, lab: str, topology: Topology) -> PlacedTopology:
    """Placed, and the networks made. Other labs come and go beside the tests: then another place is looked for."""
    avoided: dict[str, str] = {}
    for _ in range(10):
        placed = place(topology, lab, {**runtime.taken_subnets(), **avoided}, range(os.cpu_count() or 1))
        try:
            for network in placed.networks:
                runtime.create_network(lab, network)
        except UsageError as error:
            runtime.remove(lab)
            if "in use" not in str(error) and "overlap" not in str(error):
                raise
            avoided |= {network.subnet: "another lab" for network in placed.networks}
        else:
            return placed
    pytest.fail("no subnet stays free")


def lasting_subnet(runtime: Runtime, longest_prefix: int = 32) -> tuple[str, str]:
    """A subnet in use and what has it; not a lab's, for those come and go beside the tests."""
    return next(
        (subnet, owner)
        for subnet, owner in runtime.taken_subnets().items()
        if 8 <= IPv4Network(subnet).prefixlen <= longest_prefix and " tb" not in owner and " of lab " not in owner
    )


def conforming(name: str) -> Runtime:
    """The runtime of that name, with what the nodes of these worlds are made of."""
    runtime = available(name)
    if name == "docker":
        ensure_base_image(connect(), lambda text: None)
    return runtime


def said(runtime: Runtime, node: str, *command: str) -> str:
    """What a command printed in a node of the world; it has to end well."""
    done = runtime.run(LAB, node, command)
    assert done.status == 0, done.stderr
    return done.stdout.strip()


def status_field(runtime: Runtime, node: str, field: str) -> str:
    """A field of /proc/self/status of a program in a node of the world."""
    text = said(runtime, node, "cat", "/proc/self/status")
    return text.split(f"\n{field}:")[1].split("\n")[0].strip()


def next_lines(process: Process, count: int, timeout_s: float = 10.0) -> list[str]:
    """That many lines, fewer if they do not come in time."""
    deadline, found = time.monotonic() + timeout_s, list[str]()
    while len(found) < count and time.monotonic() < deadline:
        found += process.lines(0.5)
    return found
