"""Placement: nothing collides, whatever the machine has; the same input gives the same plan."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from testbed.errors import InputError, UsageError
from testbed.model.placed import PlacedTopology
from testbed.model.topology import Network, Node, Topology
from testbed.topology.default import default_topology
from testbed.topology.plan import place

CPUS = [0, 1]


def world(
    members: int = 3, subnet: str | None = None, length: int | None = None, cpuset: str | None = None
) -> Topology:
    """A server and clients on one network."""
    nodes = [Node(name="server", role="server", image="i", networks=("lan",), cpuset=cpuset)]
    nodes += [
        Node(name=f"c{number}", role="client", image="i", networks=("lan",), emulated_prefix_length=length)
        for number in range(members - 1)
    ]
    return Topology(networks=(Network(name="lan", subnet=subnet),), nodes=tuple(nodes))


def assert_sound(placed: PlacedTopology, taken: list[IPv4Network]) -> None:
    """Disjoint from everything and from each other; every address inside, once, and not the gateway's."""
    subnets = {network.name: IPv4Network(network.subnet) for network in placed.networks}
    prefixes = [IPv4Network(node.emulated_prefix) for node in placed.nodes if node.emulated_prefix]
    for one, other in combinations([*subnets.values(), *prefixes], 2):
        assert not one.overlaps(other)
    for one in [*subnets.values(), *prefixes]:
        assert not any(one.overlaps(other) for other in taken)
    for name, subnet in subnets.items():
        addresses = [IPv4Address(node.addresses[name]) for node in placed.nodes if name in node.addresses]
        assert len(set(addresses)) == len(addresses)
        reserved = {subnet.network_address, subnet.network_address + 1, subnet.broadcast_address}
        assert all(address in subnet and address not in reserved for address in addresses)


networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(int(IPv4Address("10.0.0.0")), int(IPv4Address("10.255.255.255")))
    | st.integers(int(IPv4Address("172.16.0.0")), int(IPv4Address("172.31.255.255")))
    | st.integers(0, 2**32 - 1),
    st.integers(9, 32),
)


@given(taken=st.lists(networks, max_size=20), lengths=st.lists(st.integers(14, 30), min_size=1, max_size=8))
def test_nothing_collides_whatever_the_machine_has(taken: list[IPv4Network], lengths: list[int]) -> None:
    nodes = [Node(name="server", role="server", image="i", networks=("a", "b"))]
    nodes += [
        Node(name=f"c{index}", role="client", image="i", networks=("ab"[index % 2],), emulated_prefix_length=length)
        for index, length in enumerate(lengths)
    ]
    topology = Topology(networks=(Network(name="a"), Network(name="b")), nodes=tuple(nodes))
    owners = {str(network): "somebody" for network in taken}
    try:
        placed = place(topology, "lab", owners, CPUS)
    except UsageError:
        assume(False)  # what was drawn fills the machine: the test of a full machine is another one
    assert_sound(placed, taken)
    for node, length in zip(placed.nodes[1:], lengths, strict=True):
        assert IPv4Network(node.emulated_prefix or "").prefixlen == length
    assert place(topology, "lab", owners, CPUS) == placed


@given(members=st.integers(1, 700))
def test_a_subnet_has_room_for_all_its_nodes(members: int) -> None:
    assert_sound(place(world(members), "lab", {}, CPUS), [])


@pytest.mark.parametrize("taken", ["10.0.0.0/8", "10.64.0.0/10", "10.0.0.0/9", "128.0.0.0/1"])
def test_the_default_world_finds_room_beside_large_routes(taken: str) -> None:
    placed = place(default_topology(), "lab", {taken: "route via tun0"}, CPUS)
    assert_sound(placed, [IPv4Network(taken)])


def test_many_labs_stand_side_by_side() -> None:
    taken: dict[str, str] = {}
    for number in range(30):
        placed = place(default_topology(), f"lab{number}", taken, CPUS)
        assert_sound(placed, [IPv4Network(subnet) for subnet in taken])
        taken |= {network.subnet: f"lab{number}" for network in placed.networks}


def test_a_full_machine_is_said_to_be_full() -> None:
    with pytest.raises(UsageError, match="network 'lan': no free /24 subnet is left"):
        place(world(), "lab", {"0.0.0.0/1": "a", "128.0.0.0/1": "b"}, CPUS)


def test_no_room_for_emulated_hosts_names_the_node() -> None:
    with pytest.raises(UsageError, match="node 'c0': no free /8 prefix"):
        place(world(length=8), "lab", {}, CPUS)


@pytest.mark.parametrize("subnet", ["10.1.2.0/24", "10.1.0.0/16", "10.1.2.128/25"])
def test_a_fixed_subnet_that_collides_is_refused_with_the_name_of_the_other(subnet: str) -> None:
    with pytest.raises(InputError, match=r"network 'lan': subnet .* collides with 10\.1\.2\.0/24 \(docker network x\)"):
        place(world(subnet=subnet), "lab", {"10.1.2.0/24": "docker network x"}, CPUS)


def test_two_fixed_subnets_that_collide_are_refused() -> None:
    nodes = (Node(name="n", image="i", networks=("a", "b")),)
    both = (Network(name="a", subnet="10.1.0.0/24"), Network(name="b", subnet="10.1.0.0/25"))
    with pytest.raises(InputError, match=r"network 'b': .* \(network 'a' of this lab\)"):
        place(Topology(networks=both, nodes=nodes), "lab", {}, CPUS)


def test_a_chosen_subnet_keeps_clear_of_a_fixed_one_declared_later() -> None:
    nodes = (Node(name="n", image="i", networks=("a", "b")),)
    both = (Network(name="a"), Network(name="b", subnet="10.64.0.0/24"))
    placed = place(Topology(networks=both, nodes=nodes), "lab", {}, CPUS)
    assert_sound(placed, [])
    assert placed.networks[1].subnet == "10.64.0.0/24"


@pytest.mark.parametrize("subnet", ["10.1.2.3/24", "10.1.2.0/33", "fd00::/64", "lan"])
def test_what_is_no_subnet_is_refused(subnet: str) -> None:
    with pytest.raises(InputError, match=r"network 'lan': subnet .* is not an IPv4 subnet"):
        place(world(subnet=subnet), "lab", {}, CPUS)


def test_a_small_fixed_subnet_is_packed_or_refused() -> None:
    assert_sound(place(world(5, subnet="10.1.2.0/29"), "lab", {}, CPUS), [])
    with pytest.raises(InputError, match="too small for 6 nodes"):
        place(world(6, subnet="10.1.2.0/29"), "lab", {}, CPUS)


def test_servers_have_a_cpu_that_nobody_else_has() -> None:
    placed = place(default_topology(), "lab", {}, [0, 1, 2, 3])
    assert placed.node("server").cpuset == "3"
    assert {node.cpuset for node in placed.nodes if node.name != "server"} == {"0,1,2"}


def test_one_cpu_is_shared() -> None:
    placed = place(default_topology(), "lab", {}, [0])
    assert {node.cpuset for node in placed.nodes} == {None}


def test_a_fixed_cpu_set_is_kept() -> None:
    assert place(world(cpuset="0-1"), "lab", {}, CPUS).node("server").cpuset == "0-1"


@pytest.mark.parametrize(("cpuset", "text"), [("2", "there is no CPU 2"), ("x", "is not like"), ("0-", "is not like")])
def test_a_cpu_set_that_cannot_be_is_refused(cpuset: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        place(world(cpuset=cpuset), "lab", {}, CPUS)


def test_a_node_in_anothers_network_namespace_has_no_address_of_its_own() -> None:
    topology = world()
    sidecar = Node(name="link", image="i", shares_network_of="server")
    placed = place(topology.model_copy(update={"nodes": (*topology.nodes, sidecar)}), "lab", {}, CPUS)
    assert placed.node("link").addresses == {}
