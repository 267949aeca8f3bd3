"""What the contract of a runtime promises of labs and nodes, asked of every runtime that can be had here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from testbed.errors import RuntimeFault, UsageError
from testbed.model.placed import PlacedNetwork, PlacedTopology
from testbed.model.topology import Network
from testbed.runtime.base import IMAGE_ID_LABEL, Runtime
from testbed.runtime.node_files import put_files
from tests.integration.conformance_world import (
    ALL,
    LAB,
    REAL,
    conforming,
    lasting_subnet,
    next_lines,
    said,
    standing,
    status_field,
    tiny,
    world,
)

OTHER = f"{LAB}-other"

SERVE = """
use IO::Socket::INET; $| = 1;
my $l = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => 7000, Listen => 9, ReuseAddr => 1) or die "$!";
print "on\\n";
while (my $c = $l->accept) { print $c->peerhost, "\\n"; print $c "hello\\n"; close $c; }
"""
ASK = 'exec 3<>"/dev/tcp/$1/7000" && cat <&3'


@pytest.fixture(scope="module", params=ALL)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return conforming(request.param)


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest) -> Runtime:
    return conforming(request.param)


@pytest.fixture(scope="module")
def lab(real: Runtime) -> Iterator[PlacedTopology]:
    """Stands for all tests that change nothing of it."""
    with standing(real, LAB, world()) as placed:
        yield placed


# What stands, and what is refused


def test_what_is_made_is_found_and_removed_and_removing_again_is_fine(runtime: Runtime) -> None:
    lab = f"{LAB}-made"
    with standing(runtime, lab, world()) as placed:
        made = runtime.made(lab)
        nodes = {thing.name: thing for thing in made if thing.kind == "node"}
        assert {thing.name for thing in made if thing.kind == "network"} == {"net0", "net1"}
        assert {name: dict(thing.addresses) for name, thing in nodes.items()} == {
            node.name: node.addresses for node in placed.nodes
        }
        assert {(thing.lab, thing.labels["testbed.lab"]) for thing in made} == {(lab, lab)}
        assert {thing.state for thing in nodes.values()} == {"running"}
        assert set(map(str, made)) <= set(map(str, runtime.made()))
        assert {network.subnet for network in placed.networks} <= set(runtime.taken_subnets())
        runtime.remove(lab)
        assert runtime.made(lab) == []
        # By the owner, not by the subnet: another lab may have taken it at once.
        assert not any(lab in owner for owner in runtime.taken_subnets().values())
    runtime.remove(lab)  # and it was removed before: the second time is nothing to it


def test_what_a_node_runs_is_told(real: Runtime, lab: PlacedTopology) -> None:
    (server,) = (made for made in real.made(LAB) if made.name == "server")
    assert re.fullmatch("sha256:[0-9a-f]{64}", server.labels[IMAGE_ID_LABEL])


def test_a_name_in_use_is_refused(runtime: Runtime) -> None:
    lab = f"{LAB}-name"
    with standing(runtime, lab, tiny()) as placed:
        with pytest.raises(UsageError, match="net"):
            runtime.create_network(lab, placed.networks[0])
        with pytest.raises(UsageError, match="node"):
            runtime.create_node(placed, placed.node("node"))
        assert [thing.name for thing in runtime.made(lab)] == ["net", "node"]


def test_a_subnet_in_use_is_refused_with_what_has_it(runtime: Runtime) -> None:
    lab = f"{LAB}-subnet"
    subnet, owner = lasting_subnet(runtime)
    within = next(IPv4Network(subnet).subnets(new_prefix=30))
    try:
        with pytest.raises(UsageError, match="in use") as caught:
            runtime.create_network(lab, PlacedNetwork(network=Network(name="net0"), subnet=str(within)))
        assert owner in str(caught.value)
        assert runtime.made(lab) == []
    finally:
        runtime.remove(lab)


def test_a_node_that_is_not_there_is_named(runtime: Runtime) -> None:
    with pytest.raises(RuntimeFault, match="ghost"):
        runtime.run(LAB, "ghost", ["true"])
    with pytest.raises(RuntimeFault, match="ghost"):
        runtime.start(LAB, "ghost", ["true"])
    with pytest.raises(RuntimeFault, match="ghost"):
        put_files(runtime, LAB, "ghost", "/srv", {})
    with pytest.raises(RuntimeFault, match="ghost"):
        runtime.cpu_time_ns(LAB, "ghost")
    with pytest.raises(RuntimeFault, match="ghost"):
        runtime.logs(LAB, "ghost")


def test_labs_whose_names_run_together_do_not_meet(runtime: Runtime) -> None:
    one, other = f"{LAB}-a", f"{LAB}-a-b"
    with standing(runtime, one, tiny("b-node", "b-net")), standing(runtime, other, tiny("node", "net")):
        assert [thing.name for thing in runtime.made(one)] == ["b-net", "b-node"]
        runtime.remove(one)
        assert [thing.name for thing in runtime.made(other)] == ["net", "node"]
        with pytest.raises(RuntimeFault, match="b-node"):
            runtime.run(one, "b-node", ["true"])


def test_one_node_can_be_removed_alone(runtime: Runtime) -> None:
    lab = f"{LAB}-one"
    topology = tiny()
    second = topology.nodes[0].model_copy(update={"name": "second"})
    with standing(runtime, lab, topology.model_copy(update={"nodes": (*topology.nodes, second)})) as placed:
        runtime.remove(lab, "second")
        assert [thing.name for thing in runtime.made(lab)] == ["net", "node"]
        with pytest.raises(RuntimeFault, match="second"):
            runtime.run(lab, "second", ["true"])
        runtime.remove(lab, "second")
        runtime.create_node(placed, placed.node("second"))
        assert {thing.name for thing in runtime.made(lab)} == {"net", "node", "second"}


# What a node is


def test_two_labs_stand_side_by_side(real: Runtime, lab: PlacedTopology) -> None:
    with standing(real, OTHER, tiny("server", "net0")) as other:
        subnets = [IPv4Network(network.subnet) for network in (*lab.networks, *other.networks)]
        assert not any(one.overlaps(two) for index, one in enumerate(subnets) for two in subnets[index + 1 :])
        assert real.run(OTHER, "server", ["hostname"]).stdout.strip() == "server"
        assert other.node("server").addresses != lab.node("server").addresses
        real.remove(OTHER)
    assert said(real, "server", "hostname") == "server"


def test_nodes_reach_each_other_on_both_networks(real: Runtime, lab: PlacedTopology) -> None:
    listener = real.start(LAB, "server", ["perl", "-e", SERVE, "0.0.0.0"])
    try:
        assert listener.lines(10) == ["on"]
        for client in ("client0", "client1"):
            own, address = lab.gateway_of(lab.node(client), lab.node("server"))
            assert said(real, client, "bash", "-c", ASK, "ask", address) == "hello"
            assert next_lines(listener, 1) == [own]  # the address is the planned one, and nothing translates it
    finally:
        listener.signal("KILL")


def test_a_node_may_share_the_network_of_another(real: Runtime, lab: PlacedTopology) -> None:
    listener = real.start(LAB, "beside", ["perl", "-e", SERVE, "127.0.0.1"])
    try:
        assert listener.lines(10) == ["on"]
        assert said(real, "client0", "bash", "-c", ASK, "ask", "127.0.0.1") == "hello"
    finally:
        listener.signal("KILL")


def test_nodes_find_each_other_by_name(real: Runtime, lab: PlacedTopology) -> None:
    for client in ("client0", "client1"):
        _, address = lab.gateway_of(lab.node(client), lab.node("server"))
        assert address in said(real, client, "getent", "ahostsv4", "server").split()


def test_capabilities_are_those_declared(real: Runtime, lab: PlacedTopology) -> None:
    net_raw = 1 << 13
    for node, expected in {"server": 0, "client0": net_raw, "client1": net_raw, "beside": 0}.items():
        assert int(status_field(real, node, "CapBnd"), 16) == expected, node
        assert int(status_field(real, node, "CapEff"), 16) == expected, node


def test_the_root_is_read_only_and_a_tmpfs_is_not(real: Runtime, lab: PlacedTopology) -> None:
    assert real.run(LAB, "server", ["sh", "-c", "echo x > /etc/x"]).status != 0
    assert real.run(LAB, "server", ["sh", "-c", "echo x > /x"]).status != 0
    assert said(real, "server", "sh", "-c", "echo x > /srv/x && cat /srv/x") == "x"
    assert real.run(LAB, "client0", ["cat", "/srv/x"]).status != 0


def test_sysctls_limits_cpus_and_environment_are_those_declared(real: Runtime, lab: PlacedTopology) -> None:
    assert said(real, "server", "cat", "/proc/sys/net/ipv4/tcp_congestion_control") == "reno"
    assert said(real, "client0", "cat", "/proc/sys/net/ipv4/ip_forward") == "0"
    assert said(real, "server", "sh", "-c", "ulimit -Sn; ulimit -Hn").split() == ["1000", "1000"]
    assert status_field(real, "server", "Cpus_allowed_list") == "0"
    assert said(real, "server", "printenv", "COLOUR") == "blue"


def test_the_server_routes_emulated_hosts_through_their_client(real: Runtime, lab: PlacedTopology) -> None:
    table = [line.split() for line in said(real, "server", "cat", "/proc/net/route").splitlines()[1:]]
    routes = {(row[1], row[7]): row[2] for row in table}
    for client in lab.with_role("client"):
        prefix = IPv4Network(client.emulated_prefix or "")
        gateway, _ = lab.gateway_of(client, lab.node("server"))
        key = (_little_endian(str(prefix.network_address)), _little_endian(str(prefix.netmask)))
        assert routes[key] == _little_endian(gateway), client.name


def _little_endian(address: str) -> str:
    """As /proc/net/route writes an address here."""
    return bytes(reversed(bytes(map(int, address.split("."))))).hex().upper()
