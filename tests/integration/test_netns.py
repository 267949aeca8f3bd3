"""The runtime without an engine: what its nodes see and may do, and that nothing is left whatever happens.

What all runtimes have in common is in test_runtime_conformance.py and test_program_conformance.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.engine.lab import Lab
from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.model.placed import PlacedNetwork
from testbed.model.topology import Network, Node, Topology
from testbed.runtime import netns_state
from testbed.runtime.base import Runtime
from testbed.runtime.choose import choose

NAME = f"nn{os.getpid()}"
DEVICE_NUMBERS = "/sys/class/net"


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    try:
        chosen = choose("netns")
    except EnvironmentLack as lack:
        if os.environ.get("CI") == "true":
            pytest.fail(str(lack))
        pytest.skip(str(lack))
    yield chosen
    for suffix in ("", "-b", "-k"):
        chosen.remove(NAME + suffix)


def world(**changes: object) -> Topology:
    """A server on two networks and a client on one; ``changes`` are fields of the server."""
    server = Node(
        name="server",
        role="server",
        image="any",
        networks=("net1", "net0"),
        tmpfs=("/srv:size=1m,mode=755", "/tmp"),
        sysctls={"net.ipv4.tcp_congestion_control": "reno"},
        environment={"COLOUR": "blue"},
        nofile=1000,
        cpuset="0",
    )
    client = Node(
        name="client",
        role="client",
        image="any",
        networks=("net0",),
        cap_add=("NET_RAW",),
        tmpfs=("/tmp",),
        emulated_prefix_length=24,
    )
    beside = Node(name="beside", image="any", shares_network_of="client", cap_add=("CAP_NET_ADMIN",))
    networks = (Network(name="net0"), Network(name="net1"))
    return Topology(networks=networks, nodes=(server.model_copy(update=changes), client, beside))


@pytest.fixture(scope="module")
def lab(runtime: Runtime) -> Iterator[Lab]:
    with Lab(world(), name=NAME, runtime=runtime) as lab:
        yield lab


def said(lab: Lab, node: str, script: str, *words: str) -> str:
    done = lab.run(node, ["sh", "-c", script, "sh", *words])
    assert done.status == 0, done.stderr
    return done.stdout.strip()


def capabilities(lab: Lab, node: str) -> dict[str, int]:
    lines = [line.split() for line in said(lab, node, "cat /proc/self/status").splitlines()]
    return {words[0].rstrip(":"): int(words[1], 16) for words in lines if words[0].startswith("Cap")}


def everything_of(lab: str) -> set[str]:
    """Namespaces, control groups, state, mounts of a lab, as the machine itself shows them."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split()[0] for line in listed if line.split()[0].startswith(f"tb-{lab}")}
    groups = {str(path) for path in Path("/sys/fs/cgroup").glob(f"*/testbed/{lab}")}
    groups |= {str(path) for path in Path("/sys/fs/cgroup").glob(f"testbed/{lab}")}
    state = {str(path) for path in Path("/run/testbed").glob(f"{lab}/*")}
    mounts = {line for line in Path("/proc/self/mounts").read_text().splitlines() if f"tb-{lab}" in line}
    return names | groups | state | mounts


def test_interfaces_are_numbered_by_the_names_of_the_networks(lab: Lab) -> None:
    addresses = lab.server.addresses
    shown = said(lab, "server", "ip -4 -brief addr show")
    assert f"{addresses['net0']}/24" in shown.split("eth0")[1].split("eth1")[0]
    assert f"{addresses['net1']}/24" in shown.split("eth1")[1]
    assert "inet6" not in said(lab, "server", "ip addr")


def test_a_mac_follows_from_the_address_as_on_an_engine(lab: Lab) -> None:
    parts = [int(part) for part in lab.placed.node("client").addresses["net0"].split(".")]
    mac = ":".join(f"{part:02x}" for part in (2, 0x42, *parts))
    assert said(lab, "client", "cat /sys/class/net/eth0/address") == mac


def test_nodes_know_each_other_by_name(lab: Lab) -> None:
    assert said(lab, "client", "getent hosts server").split()[0] == lab.server.addresses["net0"]
    assert said(lab, "server", "cat /proc/sys/kernel/hostname") == "server"


def test_emulated_hosts_are_routed_at_the_server(lab: Lab) -> None:
    client = lab.placed.node("client")
    assert client.emulated_prefix is not None
    route = said(lab, "server", "ip route get $1", client.emulated_prefix.replace(".0/24", ".7"))
    assert f"via {client.addresses['net0']} dev eth0" in route


def test_receiving_is_paid_by_the_receivers_cpus(lab: Lab) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one CPU: nothing to steer to")
    assert said(lab, "server", "cat /sys/class/net/eth0/queues/rx-0/rps_cpus").endswith("1")
    assert lab.paths.switched
    assert lab.paths.steered, lab.paths.reason


def test_the_bridges_are_not_in_the_hosts_namespace(lab: Lab) -> None:
    here = {path.name for path in Path(DEVICE_NUMBERS).iterdir()}
    switch = subprocess.run(
        ["ip", "-netns", f"tb-{NAME}", "-brief", "link"], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[0].partition("@")[0] for line in switch.splitlines()} - {"lo"}
    assert len(names) == 2 + 3
    assert not names & here


def test_a_node_has_the_capabilities_that_it_adds_and_no_way_to_more(lab: Lab) -> None:
    net_raw, net_admin = 1 << 13, 1 << 12
    assert set(capabilities(lab, "server").values()) == {0}
    assert len(capabilities(lab, "server")) == 5
    assert capabilities(lab, "client")["CapEff"] == net_raw
    assert capabilities(lab, "client")["CapBnd"] == net_raw
    assert capabilities(lab, "beside")["CapEff"] == net_admin
    assert "NoNewPrivs:\t1" in said(lab, "server", "cat /proc/self/status")


def test_a_node_listens_on_port_80_without_capabilities(lab: Lab) -> None:
    script = "import socket; s = socket.socket(); s.bind(('', 80)); print('bound')"
    assert said(lab, "server", f'{sys.base_prefix}/bin/python3 -c "$1"', script) == "bound"


def test_limits_settings_environment_and_cpus_are_as_declared(lab: Lab) -> None:
    assert said(lab, "server", "ulimit -n; ulimit -Hn").split() == ["1000", "1000"]
    assert said(lab, "server", "cat /proc/sys/net/ipv4/tcp_congestion_control") == "reno"
    assert said(lab, "server", "echo $COLOUR") == "blue"
    assert "Cpus_allowed_list:\t0\n" in said(lab, "server", "cat /proc/self/status")


def test_a_node_cannot_write_the_machine(lab: Lab) -> None:
    script = 'for path; do (: > "$path") 2>/dev/null && echo "$path"; done'
    paths = ("/x", "/etc/x", "/usr/x", "/proc/sys/vm/swappiness", "/sys/x")
    assert lab.run("server", ["sh", "-c", script, "sh", *paths]).stdout == ""
    assert said(lab, "server", ": > /srv/x && : > /tmp/x && : > /dev/shm/x && echo written") == "written"
    assert not Path("/srv/x").exists()


def test_a_node_sees_and_reaches_only_its_own_processes(lab: Lab) -> None:
    numbers = said(lab, "server", "cd /proc && ls -d [0-9]*").split()
    assert "1" in numbers
    assert len(numbers) < 10


def test_a_node_beside_another_shares_its_network_and_nothing_else(lab: Lab) -> None:
    assert said(lab, "beside", "readlink /proc/self/ns/net") == said(lab, "client", "readlink /proc/self/ns/net")
    assert said(lab, "beside", "readlink /proc/self/ns/mnt") != said(lab, "client", "readlink /proc/self/ns/mnt")
    assert said(lab, "beside", "ip link set eth0 mtu 1400; cat /sys/class/net/eth0/mtu") == "1400"
    assert lab.run("client", ["ip", "link", "set", "eth0", "mtu", "1500"]).status != 0


def test_a_tmpfs_takes_the_options_of_a_compose_file(lab: Lab) -> None:
    assert said(lab, "server", "stat -c %a /srv /tmp").split() == ["755", "1777"]
    assert "1024" in said(lab, "server", "df -k /srv | tail -n 1").split()


def test_the_programs_of_the_project_are_found(lab: Lab) -> None:
    assert "epoll-lt" in said(lab, "server", "userver --list-mechs").split()


def test_what_programs_write_on_stderr_is_the_log_and_stays_bounded(lab: Lab) -> None:
    process = lab.start("server", ["sh", "-c", "seq 200000 >&2; echo the end >&2"])
    assert process.wait(20) == 0
    assert process.stderr().endswith("199999\n200000\nthe end\n")
    assert lab.logs("server").endswith("sh on server: the end\n")
    assert len(lab.logs("server")) <= 256 * 1024


def test_a_file_that_leaves_its_folder_is_refused(lab: Lab) -> None:
    with pytest.raises(RuntimeFault, match="cannot be put"):
        lab.put_files("server", "/srv", {"../outside": b"x"})
    with pytest.raises(RuntimeFault, match="Read-only"):
        lab.put_files("server", "/etc/testbed", {"x": b"x"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tmpfs": ("/no-such-folder",)}, "no such folder"),
        ({"sysctls": {"vm.swappiness": "1"}}, "would change the whole machine"),
        ({"sysctls": {"net.ipv4.no_such": "1"}}, "no_such"),
        ({"cap_add": ("NO_SUCH",)}, "no_such"),
        ({"nofile": 2**31}, "descriptors"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name_and_leaves_nothing(
    runtime: Runtime, changes: dict[str, object], message: str
) -> None:
    with pytest.raises((UsageError, RuntimeFault, EnvironmentLack), match=message):
        Lab(world(**changes), name=f"{NAME}-b", runtime=runtime).up()
    assert everything_of(f"{NAME}-b") == set()


def test_a_foreign_namespace_is_neither_used_nor_removed(runtime: Runtime) -> None:
    foreign = f"tb-{NAME}-b"
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        with pytest.raises(UsageError, match="not of this lab"):
            runtime.create_network(f"{NAME}-b", PlacedNetwork(network=Network(name="net0"), subnet="10.65.9.0/24"))
        runtime.remove(f"{NAME}-b")
        assert (Path("/run/netns") / foreign).exists()
    finally:
        subprocess.run(["ip", "netns", "delete", foreign], check=True)


def test_nothing_is_left_of_a_lab_with_running_programs(runtime: Runtime) -> None:
    name = f"{NAME}-b"
    with Lab(world(), name=name, runtime=runtime) as lab:
        process = lab.start("server", ["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"])
        background = 'setsid sh -c "while :; do sleep 0.01; done" >/dev/null 2>&1 &'
        assert lab.run("client", ["sh", "-c", background]).status == 0
        assert len(everything_of(name)) > 5
        assert runtime.cpu_time_ns(name, "client") > 0
    assert everything_of(name) == set()
    assert process.wait(2.0) == 128 + signal.SIGKILL


def test_a_writable_node_writes_into_a_layer_of_its_own(runtime: Runtime) -> None:
    name = f"{NAME}-b"
    with Lab(world(read_only=False, tmpfs=("/made-for-it",)), name=name, runtime=runtime) as lab:
        script = "echo mine > /etc/hostname; : > /x; : > /made-for-it/x; cat /etc/hostname; ls -d /x /made-for-it/x"
        assert said(lab, "server", script).split() == ["mine", "/made-for-it/x", "/x"]
        assert not any(Path(path).exists() for path in ("/x", "/made-for-it"))
        assert Path("/etc/hostname").read_text() != "mine\n"
    assert everything_of(name) == set()


def test_one_node_is_removed_and_made_again(runtime: Runtime) -> None:
    name = f"{NAME}-b"
    with Lab(world(), name=name, runtime=runtime) as lab:
        process = lab.start("beside", ["sleep", "1000"])
        runtime.remove(name, "client")
        assert {made.name for made in runtime.made(name) if made.kind == "node"} == {"server", "beside"}
        assert said(lab, "beside", "cat /sys/class/net/eth0/operstate") == "up"
        runtime.remove(name, "beside")
        assert process.wait(2.0) == 128 + signal.SIGKILL
        assert not any("client" in what or "beside" in what for what in everything_of(name))
        for node in ("client", "beside", "server"):
            runtime.remove(name, node)
            runtime.create_node(lab.placed, lab.placed.node(node))
        assert said(lab, "client", "getent hosts server")
        runtime.remove(name, "nobody")
    assert everything_of(name) == set()


UP_AND_WAIT = """
import sys
from testbed.engine.lab import Lab
from tests.integration.test_netns import world

def progress(what, done, total):
    print(what, flush=True)

lab = Lab(world(), name=sys.argv[1], runtime="netns", progress=progress)
lab.up()
lab.start("server", ["sleep", "1000"])
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("moment", ["network", "node", "up"])
def test_a_killed_maker_leaves_what_another_process_finds_and_removes(runtime: Runtime, moment: str) -> None:
    name = f"{NAME}-k"
    root = Path(__file__).parents[2]
    maker = subprocess.Popen(
        [sys.executable, "-c", UP_AND_WAIT, name], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout is not None
    if moment == "network":
        wait_for(lambda: bool(runtime.made(name)))
    else:
        while not maker.stdout.readline().startswith(moment):
            assert maker.poll() is None
    maker.kill()
    maker.communicate()
    assert runtime.made(name)
    runtime.remove(name)
    assert everything_of(name) == set()
    assert not runtime.made(name)


def wait_for(happened: object) -> None:
    assert callable(happened)
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_reused_number_is_not_taken_for_the_holder(runtime: Runtime) -> None:
    name = f"{NAME}-b"
    with Lab(world(), name=name, runtime=runtime) as lab:
        record = netns_state.node(name, "server")
        stranger = subprocess.Popen(["sleep", "100"])
        netns_state.save(record.model_copy(update={"holder": (stranger.pid, 1)}))
        states = {made.name: made.state for made in runtime.made(name)}
        assert states["server"] == "exited"
        with pytest.raises(RuntimeFault, match="not running"):
            lab.run("server", ["true"])
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    assert everything_of(name) == set()


def test_a_lab_of_another_version_is_seen_and_can_be_removed(runtime: Runtime) -> None:
    name = f"{NAME}-b"
    lab = Lab(world(), name=name, runtime=runtime)
    lab.up()
    for record in Path(f"/run/testbed/{name}").glob("netns-*.json"):
        record.write_text('{"from": "the future"}')
    assert {made.state for made in runtime.made(name)} == {"of another version"}
    assert len(runtime.made(name)) == 5
    with pytest.raises(RuntimeFault, match="another version"):
        lab.run("server", ["true"])
    assert runtime.taken_subnets()
    lab.down()
    assert everything_of(name) == set()


def test_a_program_that_outlives_its_time_in_a_session_of_its_own_does_not_hang_us(lab: Lab) -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeFault, match="killed"):
        lab.run("client", ["sh", "-c", "setsid sleep 987 & sleep 987"], timeout_s=0.5)
    assert time.monotonic() - began < 5


def test_root_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EnvironmentLack, match=r"root.*sudo"):
        choose("netns")
