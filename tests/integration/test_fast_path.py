"""The fast path beside a container engine, and the routes to emulated hosts where it cannot be had."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from testbed.engine.lab import Lab
from testbed.errors import RuntimeFault
from testbed.link import switch
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Paths
from testbed.runtime.docker import DockerRuntime
from testbed.runtime.docker_engine import connect
from testbed.runtime.docker_images import BASE_IMAGE, ensure_base_image, ensure_image
from tests.integration.conftest import available

LAB = f"fast{os.getpid()}"

ANSWER = "use IO::Socket::INET; $| = 1; my $l = IO::Socket::INET->new(LocalPort => 7000, Listen => 9) or die; "
ANSWER += "print qq(on\\n); while (my $c = $l->accept) { print $c 'x' x 100000; close $c }"
ASK = 'exec 3<>"/dev/tcp/$1/7000" && cat <&3 | wc -c'


@pytest.fixture(scope="module")
def runtime() -> DockerRuntime:
    runtime = available("docker")
    assert isinstance(runtime, DockerRuntime)
    ensure_base_image(connect(), lambda text: None)
    return runtime


@pytest.fixture
def local(runtime: DockerRuntime) -> DockerRuntime:
    """The engine runs here, and this is root: what the fast path needs."""
    if os.geteuid() != 0 or runtime.describe()["local"] != "yes":
        pytest.skip("the fast path needs root beside the engine")
    return runtime


def world() -> Topology:
    """The server on two networks, a client on each, on CPU 0 all of them."""
    common = {"image": BASE_IMAGE, "tmpfs": ("/tmp",), "cpuset": "0"}
    clients = [
        Node(name=f"client{number}", role="client", networks=(f"net{number}",), emulated_prefix_length=24, **common)
        for number in (0, 1)
    ]
    return Topology(
        networks=(Network(name="net0"), Network(name="net1")),
        nodes=(Node(name="server", role="server", networks=("net0", "net1"), **common), *clients),
    )


def lab_of(runtime: DockerRuntime, fast: bool = True, name: str = LAB) -> Lab:
    return Lab(world(), name=name, runtime=runtime, fast=fast)


@contextmanager
def answering(lab: Lab) -> Iterator[None]:
    """A server that sends 100,000 bytes to whoever connects."""
    process = lab.start("server", ["perl", "-e", ANSWER])
    try:
        assert process.lines(10) == ["on"]
        yield
    finally:
        process.signal("KILL")


def received(lab: Lab, client: str) -> str:
    _, address = lab.placed.gateway_of(lab.placed.node(client), lab.server)
    return lab.run(client, ["bash", "-c", ASK, "ask", address]).stdout.strip()


def bridge_of(subnet: str) -> str:
    """The engine's bridge of a network, by its address in the subnet."""
    gateway = str(IPv4Network(subnet).network_address + 1)
    for line in subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout.splitlines():
        if f"inet {gateway}/" in line:
            return line.split()[1]
    pytest.fail(f"no bridge has {gateway}")


def frames(bridge: str) -> int:
    return int(Path(f"/sys/class/net/{bridge}/statistics/rx_packets").read_text())


def ports_on(bridge: str) -> list[str]:
    return sorted(port.name for port in Path(f"/sys/class/net/{bridge}/brif").iterdir())


def routed_prefixes(lab: Lab) -> dict[str, str]:
    """Destination → gateway in the server's routing table, both as addresses."""
    rows = [line.split() for line in lab.run("server", ["cat", "/proc/net/route"]).stdout.splitlines()[1:]]
    return {_dotted(row[1]): _dotted(row[2]) for row in rows}


def _dotted(word: str) -> str:
    return socket.inet_ntoa(bytes.fromhex(word)[::-1])


def expected_routes(lab: Lab) -> dict[str, str]:
    return {
        str(IPv4Network(client.emulated_prefix or "").network_address): lab.placed.gateway_of(client, lab.server)[0]
        for client in lab.clients
    }


def test_frames_pass_the_labs_own_switch_and_not_the_engines_bridges(local: DockerRuntime) -> None:
    with lab_of(local) as lab, answering(lab):
        assert lab.paths == Paths(switched=True, steered=True, reason="")
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert switch.switch_name(LAB) in {line.split()[0] for line in listed.splitlines()}
        bridges = [bridge_of(network.subnet) for network in lab.placed.networks]
        assert [ports_on(bridge) for bridge in bridges] == [[], []]
        before = [frames(bridge) for bridge in bridges]
        assert [received(lab, client.name) for client in lab.clients] == ["100000", "100000"]
        assert [frames(bridge) for bridge in bridges] == before
        made = {thing.name: dict(thing.addresses) for thing in local.made(LAB) if thing.kind == "node"}
        assert made == {node.name: node.addresses for node in lab.placed.nodes}
    assert LAB not in switch.namespaces()
    assert not any(Path(f"/sys/class/net/{bridge}").exists() for bridge in bridges)


def test_receiving_is_steered_to_the_cpus_of_each_node(local: DockerRuntime) -> None:
    read = "cat /sys/class/net/e*/queues/rx-0/rps_cpus"  # the node's own sysfs, mounted in its own namespace
    with lab_of(local) as lab:
        assert [int(mask, 16) for mask in lab.run("server", ["sh", "-c", read]).stdout.split()] == [1, 1]
        assert [int(mask, 16) for mask in lab.run("client0", ["sh", "-c", read]).stdout.split()] == [1]
    with lab_of(local, fast=False) as lab:
        assert [int(mask, 16) for mask in lab.run("server", ["sh", "-c", read]).stdout.split()] == [0, 0]


def test_what_a_server_sends_is_switched_on_the_clients_cpus(local: DockerRuntime) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one CPU: server and clients share it")
    nodes = tuple(node.model_copy(update={"cpuset": "0" if node.role == "server" else "1"}) for node in world().nodes)
    with Lab(world().model_copy(update={"nodes": nodes}), name=LAB, runtime=local, fast=True) as lab:
        ends = {
            port.host_index: placed.node.role
            for placed in lab.placed.nodes
            for port in switch.ports(_namespace_of(lab, placed.name), list(placed.addresses.values())).values()
        }
        read = "cd /sys/class/net && grep -H . veth*/queues/rx-0/rps_cpus veth*/ifindex"
        inner = ["ip", "netns", "exec", switch.switch_name(LAB), "sh", "-c", read]  # it mounts the namespace's sysfs
        lines = subprocess.run(inner, capture_output=True, text=True, check=True).stdout.splitlines()
        told = {(line.split("/")[0], line.split("/")[-1].split(":")[0]): line.split(":")[1] for line in lines}
        masks = {int(told[name, "ifindex"]): int(told[name, "rps_cpus"], 16) for name, _ in told}
        assert {masks[index] for index, role in ends.items() if role == "server"} == {2}
        assert {masks[index] for index, role in ends.items() if role != "server"} == {0}


def test_no_packet_of_a_node_meets_a_firewall(local: DockerRuntime) -> None:
    """Docker's name server has left no hook behind, and the bridges of the switch call none."""
    with lab_of(local) as lab:
        for node in lab.placed.nodes:
            enter = ["nsenter", f"--net={_namespace_of(lab, node.name)}", "iptables-save", "-t", "nat"]
            assert "127.0.0.11" not in subprocess.run(enter, capture_output=True, text=True, check=True).stdout
        assert "server" in lab.run("client1", ["getent", "hosts", "server"]).stdout
        setting = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        if Path(setting).exists():
            inner = ["ip", "netns", "exec", switch.switch_name(LAB), "cat", setting]
            assert subprocess.run(inner, capture_output=True, text=True, check=True).stdout == "0\n"


def test_what_is_for_emulated_hosts_stops_before_their_nodes_kernel_looks_up_a_route(local: DockerRuntime) -> None:
    nodes = tuple(node.model_copy(update={"cpuset": "0"}) for node in world().nodes)
    with Lab(world().model_copy(update={"nodes": nodes}), name=LAB, runtime=local, fast=True) as lab:
        assert (lab.paths.steered, lab.paths.reason) == (True, "")
        host = str(IPv4Network(str(lab.placed.node("client0").emulated_prefix))[7])
        before = internet_counters(lab, "client0")
        asked = lab.run("server", ["bash", "-c", f"for i in 1 2 3; do echo x > /dev/udp/{host}/9; done"])
        assert asked.status == 0, asked
        after = internet_counters(lab, "client0")
        assert after["InReceives"] - before["InReceives"] >= 3
        assert after["InAddrErrors"] == before["InAddrErrors"]


def internet_counters(lab: Lab, node: str) -> dict[str, int]:
    names, values = (line.split()[1:] for line in lab.run(node, ["cat", "/proc/net/snmp"]).stdout.splitlines()[:2])
    return dict(zip(names, map(int, values), strict=True))


def test_the_switch_says_nothing_of_its_own_and_the_host_keeps_its_ipv6(local: DockerRuntime) -> None:
    setting = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    if not setting.exists():
        pytest.skip("this kernel has no IPv6")
    before = setting.read_text()
    with lab_of(local):
        inner = ["ip", "netns", "exec", switch.switch_name(LAB), "cat", str(setting)]
        assert subprocess.run(inner, capture_output=True, text=True, check=True).stdout == "1\n"
        assert setting.read_text() == before


def test_frames_in_the_switch_do_not_walk_iptables_and_the_hosts_own_setting_stays(local: DockerRuntime) -> None:
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not setting.exists():
        pytest.skip("br_netfilter is not loaded")
    before = setting.read_text()
    with lab_of(local):
        inner = ["ip", "netns", "exec", switch.switch_name(LAB), "cat", str(setting)]
        assert subprocess.run(inner, capture_output=True, text=True, check=True).stdout == "0\n"
        assert setting.read_text() == before


def test_without_it_frames_pass_the_engines_bridges_and_routes_are_there_all_the_same(local: DockerRuntime) -> None:
    with lab_of(local, fast=False) as lab, answering(lab):
        assert (lab.paths.switched, lab.paths.steered) == (False, False)
        assert lab.paths.reason
        bridge = bridge_of(lab.placed.networks[0].subnet)
        before = frames(bridge)
        assert received(lab, "client0") == "100000"
        assert frames(bridge) > before
        assert expected_routes(lab).items() <= routed_prefixes(lab).items()


def test_where_namespaces_cannot_be_entered_a_helper_sets_the_routes(
    runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_image(connect(), "link", lambda text: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with lab_of(runtime) as lab, answering(lab):
        assert (lab.paths.switched, lab.paths.steered) == (False, False)
        assert "root" in lab.paths.reason
        assert expected_routes(lab).items() <= routed_prefixes(lab).items()
        assert {thing.name for thing in runtime.made(LAB) if thing.kind == "node"} == {"server", "client0", "client1"}
        assert received(lab, "client1") == "100000"
        # The helper's capability was its own: the server has not got it.
        status = lab.run("server", ["cat", "/proc/self/status"]).stdout
        assert int(status.split("CapBnd:")[1].split()[0], 16) == 0


def test_two_labs_have_a_switch_each(local: DockerRuntime) -> None:
    with lab_of(local) as lab, lab_of(local, name=f"{LAB}-b") as other, answering(lab), answering(other):
        assert {LAB, f"{LAB}-b"} <= set(switch.namespaces())
        assert (received(lab, "client0"), received(other, "client0")) == ("100000", "100000")
        other.down()
        assert received(lab, "client1") == "100000"


def test_it_can_be_laid_where_an_event_loop_runs(local: DockerRuntime) -> None:
    """As in a notebook."""

    async def notebook() -> Paths:
        with lab_of(local) as lab:
            return lab.paths

    assert asyncio.run(notebook()).switched


def test_a_switch_that_a_killed_maker_left_is_found_and_removed(local: DockerRuntime) -> None:
    lab = f"{LAB}-left"
    switch.create_namespace(switch.switch_name(lab))
    try:
        assert [thing.lab for thing in local.made(lab)] == [lab]
        assert lab in {thing.lab for thing in local.made()}
    finally:
        local.remove(lab)
    assert local.made(lab) == []
    assert not Path("/run/netns", switch.switch_name(lab)).exists()
    local.remove(lab)


def test_a_switch_that_stood_before_the_first_ip_netns_add_can_be_removed(local: DockerRuntime) -> None:
    """In a mount namespace where nobody has used the folder yet; ``ip`` mounts the folder over itself."""
    script = (
        "set -e; "
        f"{sys.executable} -c 'from testbed.link import switch; switch.create_namespace(\"tb-x.switch\")'; "
        "ip netns add tb-x-other; "
        f"{sys.executable} -c 'from testbed.link import switch; switch.remove_namespace(\"tb-x.switch\")'; "
        "ip netns delete tb-x-other; test ! -e /run/netns/tb-x.switch"
    )
    command = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run && mkdir /run/netns && " + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("interface", ["lo", "own"])
def test_nothing_is_moved_that_is_no_veth_on_the_labs_bridge(local: DockerRuntime, interface: str) -> None:
    """Neither the loopback, nor the interface by which this machine is reached, whatever it is."""
    name = interface if interface == "lo" else _own_interface()
    index = socket.if_nametoindex(name)
    lab = f"{LAB}-not"
    try:
        with pytest.raises(RuntimeFault, match="not moved"):
            switch.lay(lab, {"net0": [index]}, {"net0": name})
        assert socket.if_nametoindex(name) == index
    finally:
        switch.remove_namespace(switch.switch_name(lab))


def test_a_veth_of_another_network_is_not_moved_and_nothing_before_it_is(local: DockerRuntime) -> None:
    other = f"{LAB}-not"
    with lab_of(local, fast=False) as lab, answering(lab):
        bridges = {network.name: bridge_of(network.subnet) for network in lab.placed.networks}
        ports = {name: [socket.if_nametoindex(port) for port in ports_on(bridge)] for name, bridge in bridges.items()}
        try:
            with pytest.raises(RuntimeFault, match="not moved"):
                switch.lay(other, {"net0": ports["net0"], "net1": ports["net0"]}, bridges)
            assert received(lab, "client0") == "100000"
        finally:
            switch.remove_namespace(switch.switch_name(other))


def test_an_address_that_is_not_on_a_veth_is_refused(local: DockerRuntime) -> None:
    with pytest.raises(RuntimeFault, match=r"127\.0\.0\.1"):
        switch.ports("/proc/self/ns/net", ["127.0.0.1"])


def _namespace_of(lab: Lab, node: str) -> str:
    containers = connect().containers.list(filters={"label": [f"testbed.lab={lab.name}", f"testbed.node={node}"]})
    containers[0].reload()
    return f"/proc/{containers[0].attrs['State']['Pid']}/ns/net"


def _own_interface() -> str:
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        name, destination = line.split()[:2]
        if destination == "00000000":
            return name
    pytest.skip("this machine has no default route")
