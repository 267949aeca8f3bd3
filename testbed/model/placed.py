"""A world as placed: every address, prefix and CPU decided, nothing made yet."""

from __future__ import annotations

import re

from testbed.model.topology import Network, Node, Topology
from testbed.model.value import Value

DEFAULT_LAB = "testbed"
"""The name of a lab that is given none."""


class PlacedNetwork(Value):
    """A network with its subnet (CIDR). The engine's own gateway is the first host of it."""

    network: Network
    subnet: str

    @property
    def name(self) -> str:
        """The declared name."""
        return self.network.name


class PlacedNode(Value):
    """A node with one IPv4 address per network, its CPU set, and its prefix of emulated hosts (CIDR) if it has one."""

    node: Node
    addresses: dict[str, str]
    cpuset: str | None
    emulated_prefix: str | None = None

    @property
    def name(self) -> str:
        """The declared name."""
        return self.node.name


class PlacedTopology(Value):
    """A whole lab, placed. ``lab`` is its name: it stands in every label and in every name on the machine."""

    lab: str
    topology: Topology
    networks: tuple[PlacedNetwork, ...]
    nodes: tuple[PlacedNode, ...]

    def node(self, name: str) -> PlacedNode:
        """The placed node of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def with_role(self, role: str) -> tuple[PlacedNode, ...]:
        """The placed nodes of a role, in declared order."""
        return tuple(node for node in self.nodes if node.node.role == role)

    def gateway_of(self, client: PlacedNode, server: PlacedNode) -> tuple[str, str]:
        """The first network that both are on, as (the client's address, the server's address).

        Raises KeyError when they share none: the client could not reach the server without a router.
        """
        for network, address in client.addresses.items():
            if network in server.addresses:
                return address, server.addresses[network]
        raise KeyError(f"{client.name} and {server.name} share no network")

    def emulated_routes(self) -> dict[str, dict[str, str]]:
        """Server → prefix of emulated hosts → the client's address through which that server reaches it."""
        return {
            server.name: {
                node.emulated_prefix: self.gateway_of(node, server)[0]
                for node in self.nodes
                if node.emulated_prefix is not None and set(node.addresses) & set(server.addresses)
            }
            for server in self.with_role("server")
        }

    def neighbours(self, node: PlacedNode) -> list[tuple[str, str]]:
        """All nodes on the networks that a node is on, itself included, as (name, address)."""
        own = self.node(node.node.shares_network_of) if node.node.shares_network_of else node
        return [
            (other.name, address)
            for other in self.nodes
            for network, address in other.addresses.items()
            if network in own.addresses
        ]

    def switching_cpus(self) -> tuple[int, ...]:
        """CPUs that do a switch's work: those of the other nodes that no server has; empty when there are none."""
        used: dict[bool, set[int]] = {True: set(), False: set()}
        for node in self.nodes:
            if node.cpuset is not None:
                used[node.node.role == "server"].update(cpu_numbers(node.cpuset))
        return tuple(sorted(used[False] - used[True]))


def cpu_numbers(cpuset: str) -> tuple[int, ...]:
    """The CPUs of a set: "0-1,3" is (0, 1, 3). Raises ValueError for what is none."""
    numbers: list[int] = []
    for part in cpuset.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip(), re.ASCII)
        if match is None:
            raise ValueError(f"cpuset {cpuset!r} is not like '0', '0-2' or '0,3'")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(numbers)
