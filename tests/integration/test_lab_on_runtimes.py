"""Labs on each real runtime: what the topology declares is what stands, whatever goes wrong is removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from testbed.engine.lab import Lab
from testbed.errors import InputError, TestbedError, UsageError
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Made, Runtime
from testbed.topology.default import default_topology
from tests.integration.conformance_world import lasting_subnet
from tests.integration.conftest import with_images

NAME = f"lab{os.getpid()}"
OTHER = f"{NAME}-b"

LISTEN = "use IO::Socket::INET; my $l = IO::Socket::INET->new(LocalPort => 7000, Listen => 9) or die; $|=1; "
LISTEN += "print qq(on\\n); 1 while $l->accept"
CONNECT = "use IO::Socket::INET; print IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 3) ? 'yes' : 'no'"


@pytest.fixture(scope="module", params=["docker", "netns"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    chosen = with_images(request.param)
    yield chosen
    for name in (NAME, OTHER):
        chosen.remove(name)


@pytest.fixture(scope="module")
def lab(runtime: Runtime) -> Iterator[Lab]:
    """The default world, once for all tests that only look."""
    with Lab(name=NAME, runtime=runtime) as lab:
        yield lab


def small(image: str | None = None) -> Topology:
    """A server and a client of the default world; ``image`` replaces the client's."""
    world = default_topology()
    server = world.node("server").model_copy(update={"networks": ("net0",)})
    client = world.node("client1")
    if image is not None:
        client = client.model_copy(update={"image": image, "build": None})
    return Topology(networks=(Network(name="net0"),), nodes=(server, client))


def nodes_of(runtime: Runtime, lab: str) -> dict[str, Made]:
    return {made.name: made for made in runtime.made(lab) if made.kind == "node"}


def status_field(lab: Lab, node: str, field: str) -> str:
    """A field of /proc/self/status of a program in a node."""
    return lab.run(node, ["cat", "/proc/self/status"]).stdout.split(f"{field}:")[1].split()[0]


def little_endian(address: bytes) -> str:
    """As /proc/net/route writes an address."""
    return f"{int.from_bytes(address, 'little'):08X}"


def test_every_node_stands_where_it_was_placed(lab: Lab) -> None:
    standing = nodes_of(lab.runtime, lab.name)
    assert set(standing) == {node.name for node in lab.placed.nodes}
    for node in lab.placed.nodes:
        assert standing[node.name].addresses == node.addresses
        own = lab.run(node.name, ["cat", "/proc/net/fib_trie"]).stdout
        assert all(address in own for address in node.addresses.values())


def test_clients_of_both_networks_reach_the_server(lab: Lab) -> None:
    listener = lab.start("server", ["perl", "-e", LISTEN])
    try:
        assert listener.lines(10) == ["on"]
        for client in (lab.clients[0], lab.clients[-1], *lab.idles):
            _, address = lab.placed.gateway_of(client, lab.server)
            assert lab.run(client.name, ["perl", "-e", CONNECT, f"{address}:7000"]).stdout == "yes", client.name
    finally:
        listener.signal("KILL")


def test_the_server_routes_every_emulated_host_through_its_client(lab: Lab) -> None:
    routes = lab.run("server", ["cat", "/proc/net/route"]).stdout
    for client in (*lab.clients, *lab.idles):
        own, _ = lab.placed.gateway_of(client, lab.server)
        destination = little_endian(IPv4Network(client.emulated_prefix or "").network_address.packed)
        gateway = little_endian(bytes(map(int, own.split("."))))
        assert re.search(rf"^\w+\t{destination}\t{gateway}\t", routes, re.MULTILINE), client.name


def test_nodes_may_do_what_the_topology_says_and_no_more(lab: Lab) -> None:
    net_raw = 1 << 13
    for node in lab.placed.nodes:
        expected = 0 if node.node.role == "server" else net_raw
        assert int(status_field(lab, node.name, "CapBnd"), 16) == expected, node.name
    assert lab.run("server", ["sh", "-c", "echo x > /etc/x"]).status != 0
    assert lab.run("server", ["sh", "-c", "echo x > /srv/x && cat /srv/x"]).stdout == "x\n"
    assert lab.run("server", ["cat", "/proc/sys/net/ipv4/tcp_congestion_control"]).stdout == "reno\n"
    assert lab.run("client1", ["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout == "0\n"


def test_cpu_sets_are_those_of_the_plan(lab: Lab) -> None:
    for node in (lab.server, lab.clients[0], lab.idles[0]):
        assert node.cpuset in (None, status_field(lab, node.name, "Cpus_allowed_list"))


def test_another_lab_stands_beside_it_and_the_name_is_refused(lab: Lab, runtime: Runtime) -> None:
    before = nodes_of(runtime, NAME)
    with pytest.raises(UsageError, match="stands already"):
        Lab(small(), name=NAME, runtime=runtime).up()
    with Lab(small(), name=OTHER, runtime=runtime) as other:
        subnets = [IPv4Network(network.subnet) for network in (*lab.placed.networks, *other.placed.networks)]
        assert not any(one.overlaps(two) for index, one in enumerate(subnets) for two in subnets[index + 1 :])
    assert nodes_of(runtime, NAME) == before
    assert runtime.made(OTHER) == []


def test_a_later_process_finds_it(lab: Lab) -> None:
    again = Lab.attach(NAME)
    assert (again.placed, again.paths, again.runtime.name) == (lab.placed, lab.paths, lab.runtime.name)
    assert again.run("server", ["echo", "there"]).stdout == "there\n"


def test_a_fixed_subnet_that_collides_is_refused_with_what_has_it(runtime: Runtime) -> None:
    taken, owner = lasting_subnet(runtime, longest_prefix=28)
    world = small().model_copy(update={"networks": (Network(name="net0", subnet=taken),)})
    with pytest.raises(InputError) as caught:
        Lab(world, name=OTHER, runtime=runtime).up()
    assert f"network 'net0': subnet {taken} collides with" in str(caught.value)
    assert f"({owner})" in str(caught.value)
    assert runtime.made(OTHER) == []


def test_a_world_may_have_a_node_of_ones_own(runtime: Runtime) -> None:
    world = small()
    own = Node(name="mine", image="testbed/client", build="client", networks=("net0",), tmpfs=("/tmp",))
    with Lab(world.model_copy(update={"nodes": (*world.nodes, own)}), name=OTHER, runtime=runtime) as lab:
        assert lab.run("mine", ["echo", "mine"]).stdout == "mine\n"


def test_a_node_that_cannot_start_takes_the_others_with_it(runtime: Runtime) -> None:
    missing = "testbed/does-not-exist:never"
    world = small(image=missing)
    client = world.node("client1").model_copy(update={"cap_add": ("NOT_A_CAPABILITY",)})
    world = world.model_copy(update={"nodes": (world.node("server"), client)})
    with pytest.raises(TestbedError, match=r"(?i)does-not-exist|not_a_capability"):
        Lab(world, name=OTHER, runtime=runtime).up()
    assert runtime.made(OTHER) == []
