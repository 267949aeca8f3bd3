"""Where everything goes: free subnets, addresses, prefixes of emulated hosts, CPU sets. Nothing is looked up here.

The same input always gives the same plan. Nothing is taken that the machine or another lab already has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from testbed.errors import InputError, UsageError
from testbed.model.placed import PlacedNetwork, PlacedNode, PlacedTopology, cpu_numbers
from testbed.model.topology import Network, Node, Topology

_SUBNET_POOLS = ("10.64.0.0/10", "172.20.0.0/14", "192.168.0.0/16", "198.18.0.0/15", "100.64.0.0/10")
"""Where subnets are looked for, in this order. Several, because a VPN may have taken all of 10.0.0.0/8."""

_EMULATED_POOLS = ("10.128.0.0/9", "10.0.0.0/10", "100.64.0.0/10", "172.16.0.0/12", "198.18.0.0/15")
"""Where prefixes of emulated hosts are looked for. They are routed inside a lab only, never on the host."""

_SUBNET_PREFIX_LENGTH = 24
_FIRST_SERVER, _FIRST_OTHER = 10, 20
"""Host numbers in a subnet: servers from .10, all others from .20. The engine's gateway has .1."""

Taken = dict[IPv4Network, str]


def place(topology: Topology, lab: str, taken_subnets: Mapping[str, str], cpus: Sequence[int]) -> PlacedTopology:
    """Decide every address, prefix and CPU set of a lab.

    ``taken_subnets`` maps subnets in use (CIDR) to what has them; ``cpus`` are the machine's CPUs that may be used.
    Raises InputError for a fixed subnet or CPU set that cannot be, and UsageError when no room is left.
    """
    taken: Taken = {IPv4Network(subnet, strict=False): owner for subnet, owner in taken_subnets.items()}
    subnets = _place_networks(topology, taken)
    addresses = {
        network.name: _place_addresses(network, subnets[network.name], topology) for network in topology.networks
    }
    prefixes = _place_prefixes(topology, taken)
    nodes = tuple(
        PlacedNode(
            node=node,
            addresses={network: str(addresses[network][node.name]) for network in node.networks},
            cpuset=_cpuset(node, cpus),
            emulated_prefix=prefixes.get(node.name),
        )
        for node in topology.nodes
    )
    networks = tuple(PlacedNetwork(network=network, subnet=str(subnets[network.name])) for network in topology.networks)
    return PlacedTopology(lab=lab, topology=topology, networks=networks, nodes=nodes)


def _place_networks(topology: Topology, taken: Taken) -> dict[str, IPv4Network]:
    """Fixed subnets first, so that no chosen one gets in their way. Adds all of them to ``taken``."""
    subnets: dict[str, IPv4Network] = {}
    for network in sorted(topology.networks, key=lambda network: network.subnet is None):
        members = sum(network.name in node.networks for node in topology.nodes)
        if network.subnet is None:
            # Room for the reserved host numbers, the members, network and broadcast address.
            length = min(_SUBNET_PREFIX_LENGTH, 32 - (_FIRST_OTHER + members + 2).bit_length())
            subnet = _free(_SUBNET_POOLS, length, taken)
            if subnet is None:
                raise UsageError(f"network {network.name!r}: no free /{length} subnet is left on this machine")
        else:
            subnet = _fixed_subnet(network, network.subnet, taken)
        subnets[network.name] = subnet
        taken[subnet] = f"network {network.name!r} of this lab"
    return subnets


def _fixed_subnet(network: Network, declared: str, taken: Taken) -> IPv4Network:
    where = f"network {network.name!r}"
    try:
        subnet = IPv4Network(declared)
    except ValueError as error:
        raise InputError(where, f"subnet {declared!r} is not an IPv4 subnet ({error})") from None
    for other, owner in taken.items():
        if subnet.overlaps(other):
            raise InputError(where, f"subnet {subnet} collides with {other} ({owner}); choose another, or none")
    return subnet


def _free(pools: Sequence[str], length: int, taken: Taken) -> IPv4Network | None:
    """The first subnet of that prefix length in the pools that overlaps nothing taken."""
    size = 1 << (32 - length)
    ranges = sorted((int(other.network_address), int(other.broadcast_address)) for other in taken)
    for pool in map(IPv4Network, pools):
        start, last = int(pool.network_address), int(pool.broadcast_address)
        for first_taken, last_taken in ranges:
            # In ascending order, so what begins behind the candidate cannot hide an obstacle within it.
            if last_taken >= start and first_taken < start + size:
                start = (last_taken // size + 1) * size
        if start + size - 1 <= last:
            return IPv4Network((start, length))
    return None


def _place_addresses(network: Network, subnet: IPv4Network, topology: Topology) -> dict[str, IPv4Address]:
    members = [node for node in topology.nodes if network.name in node.networks]
    ordered = [node for node in members if node.role == "server"] + [node for node in members if node.role != "server"]
    servers = sum(node.role == "server" for node in members)
    numbers = [_FIRST_SERVER + index for index in range(servers)]
    numbers += [max(_FIRST_OTHER, _FIRST_SERVER + servers) + index for index in range(len(members) - servers)]
    hosts = subnet.num_addresses - 2
    if numbers and numbers[-1] > hosts:
        numbers = list(range(2, 2 + len(members)))  # a small fixed subnet: packed behind the gateway
    if numbers and numbers[-1] > hosts:
        raise InputError(f"network {network.name!r}", f"subnet {subnet} is too small for {len(members)} nodes")
    return {node.name: subnet.network_address + number for node, number in zip(ordered, numbers, strict=True)}


def _place_prefixes(topology: Topology, taken: Taken) -> dict[str, str]:
    prefixes = {}
    for node in topology.nodes:
        if node.emulated_prefix_length is None:
            continue
        prefix = _free(_EMULATED_POOLS, node.emulated_prefix_length, taken)
        if prefix is None:
            length = node.emulated_prefix_length
            raise UsageError(
                f"node {node.name!r}: no free /{length} prefix for emulated hosts is left; use a longer one"
            )
        prefixes[node.name] = str(prefix)
        taken[prefix] = f"emulated hosts of {node.name!r}"
    return prefixes


def _cpuset(node: Node, cpus: Sequence[int]) -> str | None:
    """Servers alone on the last CPU, all others share the rest: neither may take the other's time."""
    if node.cpuset is not None:
        try:
            missing = sorted(set(cpu_numbers(node.cpuset)) - set(cpus))
        except ValueError as error:
            raise InputError(f"node {node.name!r}", str(error)) from None
        if missing:
            have = ",".join(map(str, cpus))
            raise InputError(
                f"node {node.name!r}", f"cpuset {node.cpuset!r}: there is no CPU {missing[0]} (have {have})"
            )
        return node.cpuset
    if len(cpus) < 2:
        return None
    ordered = sorted(cpus)
    return str(ordered[-1]) if node.role == "server" else ",".join(map(str, ordered[:-1]))
