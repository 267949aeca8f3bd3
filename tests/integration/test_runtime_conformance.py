"""What the contract of a runtime promises, asked of every runtime that can be had here, on a small world."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

import pytest

from testbed.errors import ProgramError, RuntimeFault, UsageError
from testbed.model.placed import PlacedNetwork, PlacedTopology
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import RUNTIMES, Process, Runtime
from testbed.runtime.docker_engine import connect
from testbed.runtime.docker_images import BASE_IMAGE, ensure_base_image
from testbed.topology.plan import place
from tests.integration.conftest import available

LAB = f"conf{os.getpid()}"
OTHER = f"{LAB}-other"
RUNS_NOTHING = {"fake"}
"""It stands for programs by scripts of its own: what needs real ones is not asked of it."""

ALL = RUNTIMES.names()
REAL = [name for name in ALL if name not in RUNS_NOTHING]

SERVE = """
use IO::Socket::INET; $| = 1;
my $l = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => 7000, Listen => 9, ReuseAddr => 1) or die "$!";
print "on\\n";
while (my $c = $l->accept) { print $c->peerhost, "\\n"; print $c "hello\\n"; close $c; }
"""
ASK = 'exec 3<>"/dev/tcp/$1/7000" && cat <&3'


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
def standing(runtime: Runtime, lab: str, topology: Topology) -> Iterator[PlacedTopology]:
    """A lab, made through nothing but the contract, its nodes from several threads at once."""
    try:
        placed = _networks(runtime, lab, topology)
        own = [node for node in placed.nodes if node.addresses]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda node: runtime.create_node(placed, node), own))
        for node in placed.nodes:
            if not node.addresses:
                runtime.create_node(placed, node)
        runtime.connect_paths(placed, fast=True)
        yield placed
    finally:
        runtime.remove(lab)


def _networks(runtime: Runtime, lab: str, topology: Topology) -> PlacedTopology:
    """Placed, and the networks made. Other labs come and go beside the tests: then another place is looked for."""
    for _ in range(10):
        placed = place(topology, lab, runtime.taken_subnets(), range(os.cpu_count() or 1))
        try:
            for network in placed.networks:
                runtime.create_network(lab, network)
        except UsageError as error:
            runtime.remove(lab)
            if "in use" not in str(error) and "overlap" not in str(error):
                raise
        else:
            return placed
    pytest.fail("no subnet stays free")


def _runtime(name: str) -> Runtime:
    runtime = available(name)
    if name == "docker":
        ensure_base_image(connect(), lambda text: None)
    return runtime


@pytest.fixture(scope="module", params=ALL)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return _runtime(request.param)


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest) -> Runtime:
    return _runtime(request.param)


@pytest.fixture(scope="module")
def lab(real: Runtime) -> Iterator[PlacedTopology]:
    """Stands for all tests that change nothing of it."""
    with standing(real, LAB, world()) as placed:
        yield placed


def said(runtime: Runtime, node: str, *command: str) -> str:
    done = runtime.run(LAB, node, command)
    assert done.status == 0, done.stderr
    return done.stdout.strip()


def status_field(runtime: Runtime, node: str, field: str) -> str:
    text = said(runtime, node, "cat", "/proc/self/status")
    return text.split(f"\n{field}:")[1].split("\n")[0].strip()


def next_lines(process: Process, count: int, timeout_s: float = 10.0) -> list[str]:
    """That many lines, fewer if they do not come in time."""
    deadline, found = time.monotonic() + timeout_s, list[str]()
    while len(found) < count and time.monotonic() < deadline:
        found += process.lines(0.5)
    return found


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
        assert not {network.subnet for network in placed.networks} & set(runtime.taken_subnets())
    runtime.remove(lab)  # and it was removed before: the second time is nothing to it


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
    subnet, owner = next(item for item in runtime.taken_subnets().items() if IPv4Network(item[0]).prefixlen >= 8)
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
        runtime.put_files(LAB, "ghost", "/srv", {})
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


# Programs


def test_run_gives_status_and_both_streams(real: Runtime, lab: PlacedTopology) -> None:
    done = real.run(LAB, "server", ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert real.run(LAB, "server", ["sh", "-c", "kill -9 $$"]).status == 137


def test_run_passes_stdin_whatever_its_size(real: Runtime, lab: PlacedTopology) -> None:
    data = b"0123456789abcdef" * 40_000
    assert real.run(LAB, "server", ["cat"], stdin=data).stdout == data.decode()
    assert real.run(LAB, "server", ["wc", "-c"], stdin=data).stdout.split() == [str(len(data))]
    assert real.run(LAB, "server", ["true"], stdin=data).status == 0
    assert real.run(LAB, "server", ["cat"]).stdout == ""


def test_run_that_does_not_end_is_killed_with_its_children(real: Runtime, lab: PlacedTopology) -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeFault, match="sh"):
        real.run(LAB, "client1", ["sh", "-c", "sleep 4321 & sleep 4321; true"], timeout_s=0.5)
    assert time.monotonic() - began < 8
    assert _absent(real, "client1", "4321")


def test_run_that_does_not_end_takes_nothing_else_with_it(real: Runtime, lab: PlacedTopology) -> None:
    """Neither a program that looks the same, nor what keeps the node there."""
    twin = real.start(LAB, "client1", ["sleep", "infinity"])
    with pytest.raises(RuntimeFault, match="sleep"):
        real.run(LAB, "client1", ["sleep", "infinity"], timeout_s=0.5)
    with pytest.raises(ProgramError):
        twin.wait(0.2)
    assert said(real, "client1", "hostname") == "client1"
    twin.signal("TERM")
    assert twin.wait(5) == 143


def _absent(runtime: Runtime, node: str, word: str) -> bool:
    """Whether within a moment no process has that word on its command line. Bracketed: not the one that looks."""
    script = f'grep -la "[{word[0]}]{word[1:]}" /proc/[0-9]*/cmdline 2>/dev/null; true'
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if not runtime.run(LAB, node, ["sh", "-c", script]).stdout:
            return True
        time.sleep(0.1)
    return False


def test_a_program_that_is_not_there_is_an_error_that_names_it(real: Runtime, lab: PlacedTopology) -> None:
    with pytest.raises(RuntimeFault, match="no-such-program"):
        real.start(LAB, "server", ["no-such-program"])
    with pytest.raises(RuntimeFault, match="no-such-program"):
        _run_or_refuse(real, ["no-such-program"])


def _run_or_refuse(runtime: Runtime, command: list[str]) -> None:
    """A runtime may also answer as a shell does."""
    done = runtime.run(LAB, "server", command)
    if done.status == 127:
        raise RuntimeFault(done.stderr)


def test_lines_come_as_they_are_printed(real: Runtime, lab: PlacedTopology) -> None:
    script = 'echo one; printf "half"; read go < /tmp/go; echo " line"; echo last; printf unfinished'
    said(real, "client0", "sh", "-c", "rm -f /tmp/go; mkfifo /tmp/go")
    process = real.start(LAB, "client0", ["sh", "-c", script])
    assert process.lines(10) == ["one"]
    assert process.lines(0.1) == []
    said(real, "client0", "sh", "-c", "echo go > /tmp/go")
    assert next_lines(process, 2) == ["half line", "last"]
    assert process.wait(10) == 0
    began = time.monotonic()
    assert process.lines(5) == []
    assert time.monotonic() - began < 1  # nothing can come any more: nothing is waited for


def test_lines_are_readable_after_the_end_and_none_is_lost(real: Runtime, lab: PlacedTopology) -> None:
    process = real.start(LAB, "server", ["sh", "-c", "seq 20000; echo off >&2; exit 3"])
    assert process.wait(20) == 3
    assert next_lines(process, 20_000) == [str(number) for number in range(1, 20_001)]
    assert process.stderr() == "off\n"


def test_of_stderr_the_end_is_kept(real: Runtime, lab: PlacedTopology) -> None:
    process = real.start(LAB, "server", ["sh", "-c", "seq 1000000 1030000 >&2"])
    assert process.wait(20) == 0
    text = process.stderr()
    assert text.endswith("1029999\n1030000\n")
    assert 60_000 < len(text) <= 65_536


def test_signals_reach_the_program_alone(real: Runtime, lab: PlacedTopology) -> None:
    child = '(trap "echo child" USR1; while :; do sleep 0.05; done) &'
    script = 'trap "echo usr1" USR1; trap "kill $!; echo term; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
    first, second = (real.start(LAB, "server", ["sh", "-c", child + script]) for _ in range(2))
    assert first.lines(10) == second.lines(10) == ["ready"]
    first.signal("USR1")
    assert next_lines(first, 2, 0.5) == ["usr1"]
    first.signal("TERM")
    assert first.wait(10) == 5
    assert first.lines(1) == ["term"]
    first.signal("TERM")  # has ended: no error
    with pytest.raises(ProgramError, match="still runs"):
        second.wait(0.2)
    assert second.lines(0.1) == []
    second.signal("KILL")
    assert second.wait(10) == 137


def test_a_signal_right_after_the_start_is_not_lost(real: Runtime, lab: PlacedTopology) -> None:
    for _ in range(5):
        process = real.start(LAB, "server", ["sleep", "100"])
        process.signal("TERM")
        assert process.wait(10) == 143


def test_a_program_needs_no_place_to_write(real: Runtime) -> None:
    lab = f"{LAB}-bare"
    node = Node(name="bare", image=BASE_IMAGE, networks=("net0",))
    with standing(real, lab, Topology(networks=(Network(name="net0"),), nodes=(node,))):
        process = real.start(lab, "bare", ["sh", "-c", "echo on; exec sleep 100"])
        assert process.lines(10) == ["on"]
        process.signal("TERM")
        assert process.wait(10) == 143


# Files, CPU time, logs


@pytest.mark.parametrize("folder", ["/srv", "/srv/deeper/still", "/tmp"])
def test_files_land_on_a_tmpfs_below_a_read_only_root(real: Runtime, lab: PlacedTopology, folder: str) -> None:
    content = os.urandom(300_000)
    real.put_files(LAB, "server", folder, {"a.bin": content, "sub/b c.txt": b"b\n", "empty": b""})
    assert said(real, "server", "cat", f"{folder}/sub/b c.txt") == "b"
    hexadecimal = said(real, "server", "od", "-An", "-v", "-tx1", f"{folder}/a.bin")
    assert bytes.fromhex("".join(hexadecimal.split())) == content
    assert said(real, "server", "stat", "-c", "%s %U %a", f"{folder}/empty") == "0 root 644"
    real.put_files(LAB, "server", folder, {"sub/b c.txt": b"replaced"})
    assert said(real, "server", "cat", f"{folder}/sub/b c.txt") == "replaced"


def test_files_for_a_read_only_place_are_refused(real: Runtime, lab: PlacedTopology) -> None:
    with pytest.raises(RuntimeFault, match="/etc"):
        real.put_files(LAB, "server", "/etc", {"x": b"x"})


BURN = """
use POSIX (); $| = 1; my $next = 0;
while (1) {
    my ($now, $user, $system) = POSIX::times();
    if ($user + $system >= $next) { $next = $user + $system + 2; print $now, " ", $user + $system, "\\n"; }
}
"""
"""Computes without end; every two ticks of CPU time it prints the clock and its CPU time, user and system, in ticks."""


def test_cpu_time_grows_with_what_the_node_computes(real: Runtime, lab: PlacedTopology) -> None:
    """Read twice while a program computes, and compared with what the program says of itself around each reading.

    Nothing is started between the two readings: what starting costs is no part of it. Nor does it hang on how fast the
    machine is: what the node used is at least what the program used between the readings, at most what it used around
    them.
    """
    burner = Burner(real.start(LAB, "client1", ["perl", "-e", BURN]))
    try:
        other = real.cpu_time_ns(LAB, "server")
        early = burner.around(lambda: real.cpu_time_ns(LAB, "client1"))
        burner.wait_for(lambda clock, own: own > early.own_after + 50)
        late = burner.around(lambda: real.cpu_time_ns(LAB, "client1"))
        grown, grown_beside = late.value - early.value, real.cpu_time_ns(LAB, "server") - other
    finally:
        burner.process.signal("KILL")
    least, most = late.own_before - early.own_after, late.own_after - early.own_before
    assert least >= 40
    assert (least - 3) / TICKS_PER_S <= grown / 1e9 <= (most + 3) / TICKS_PER_S  # the account may be a tick old
    assert grown_beside < grown / 2


TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """A value, and the CPU time in ticks that a program had used before and after it was read."""

    own_before: int
    value: int
    own_after: int


class Burner:
    """Runs BURN and keeps what it says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._said: list[tuple[int, int]] = []

    def around(self, read: Callable[[], int]) -> Reading:
        self.wait_for(lambda clock, own: True)
        began = _clock_ticks()
        value = read()
        ended = _clock_ticks()
        after = self.wait_for(lambda clock, own: clock > ended)
        return Reading(max(own for clock, own in self._said if clock <= began), value, after)

    def wait_for(self, wanted: Callable[[int, int], bool]) -> int:
        """The CPU time of the first word that is wanted."""
        while not any(wanted(*word) for word in self._said):
            lines = self.process.lines(30)
            assert lines, self.process.stderr()
            self._said += [(int(clock), int(own)) for clock, own in map(str.split, lines)]
        return next(own for clock, own in self._said if wanted(clock, own))


def _clock_ticks() -> int:
    """The clock that BURN prints: of the kernel, so that of every node."""
    return round(os.times().elapsed * TICKS_PER_S)


def test_logs_are_text(real: Runtime, lab: PlacedTopology) -> None:
    assert isinstance(real.logs(LAB, "server"), str)
