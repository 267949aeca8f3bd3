"""The runtime without an engine: a node is a network namespace with a file system view and processes of its own.

Root on Linux, util-linux and iproute2 are all that it needs. The bridges of a lab stand in a namespace of their own,
never in the host's, whose firewall (an engine's, usually) would eat their frames.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import ClassVar

from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.link.routes import set_routes
from testbed.model.placed import PlacedNetwork, PlacedNode, PlacedTopology
from testbed.runtime import control_groups, netns_groups, netns_holder, netns_state, netns_wiring, node_log
from testbed.runtime.base import IMAGE_ID_LABEL, RUNTIMES, Completed, Made, Paths, Process
from testbed.runtime.netns_process import NetnsProcess, exit_status
from testbed.runtime.netns_programs import build, digest, programs_folder
from testbed.runtime.netns_state import NetworkRecord, NodeRecord, switch_name
from testbed.runtime.node_log import ProgramLog
from testbed.runtime.receiving import Ends, steered
from testbed.topology.host import host_routes

_TOOL_TIMEOUT_S = 20.0
_END_TIMEOUT_S = 10.0
_LATE_S = 1.0
"""How long a killed maker's last tool is waited for."""


class NetnsRuntime:
    """See the module's text. What stands is known from ``netns_state`` alone, so any process can find and remove it."""

    name = "netns"
    preference: ClassVar[int | None] = 2
    has_images: ClassVar[bool] = False

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise EnvironmentLack("network namespaces are Linux's", "use the docker runtime on this machine")
        if os.geteuid() != 0:
            raise EnvironmentLack("network namespaces need root", "run testbed with sudo")
        netns_holder.check_tools()
        trial = subprocess.run(
            ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "true"],
            capture_output=True,
            text=True,
            timeout=_TOOL_TIMEOUT_S,
            check=False,
        )
        if trial.returncode != 0:
            what = f"namespaces cannot be made here: {trial.stderr.strip()}"
            raise EnvironmentLack(what, "run testbed as root of the machine, not of a container")
        self._hierarchies = netns_groups.find_hierarchies()

    def prepare_programs(self, progress: Callable[[str], None]) -> None:
        """See the contract: the programs alone."""
        build(progress)

    def describe(self) -> Mapping[str, str]:
        """The kernel is the engine; it is always on this machine."""
        return {
            "engine": "network namespaces",
            "kernel": platform.release(),
            "cgroups": f"v{self._hierarchies.version}",
            "placed_by": "taskset alone" if self._hierarchies.cpusets is None else "cpuset and taskset",
            "local": "yes",
        }

    def taken_subnets(self) -> Mapping[str, str]:
        """The host's routes, and the networks of all labs of this runtime."""
        taken = host_routes()
        for lab in netns_state.labs():
            for record in netns_state.networks(lab):
                taken[record.network.subnet] = f"network {record.network.name} of lab {lab}"
        return taken

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        """A bridge in the lab's switch namespace, which the first network makes."""
        present = netns_state.networks(lab)
        if any(record.network.name == network.name for record in present):
            raise UsageError(f"network {network.name!r} of lab {lab!r} is there already")
        for subnet, owner in self.taken_subnets().items():
            if IPv4Network(subnet, strict=False).overlaps(IPv4Network(network.subnet)):
                raise UsageError(f"subnet {network.subnet} of network {network.name!r} is in use: {subnet} ({owner})")
        switch = switch_name(lab)
        if not present and (netns_state.NAMESPACES / switch).exists():
            raise UsageError(
                f"there is a network namespace {switch} already, which is not of this lab: choose another name"
            )
        netns_state.save(NetworkRecord(lab=lab, network=network))
        group = netns_groups.make_lab_group(self._hierarchies, lab)
        if not present:
            netns_wiring.add_namespace(group, switch)
            netns_wiring.quieten(group, switch)
        netns_wiring.add_bridge(group, switch, network)

    def create_node(self, placed: PlacedTopology, node: PlacedNode) -> None:
        """Namespaces, the holder, then the node's interfaces: eth0, eth1 … in the order of its networks' names."""
        programs = programs_folder()
        netns_holder.check_node(node, programs)
        lab, sharing = placed.lab, node.node.shares_network_of
        if any(record.placed.name == node.name for record in netns_state.nodes(lab)):
            raise UsageError(f"node {node.name!r} of lab {lab!r} is there already")
        known = {record.network.name: record.network for record in netns_state.networks(lab)}
        for name in node.addresses:
            if name not in known:
                raise RuntimeFault(f"there is no network {name!r} in lab {lab!r}")
        namespace = netns_state.namespace_path(lab, node).name
        if (netns_state.NAMESPACES / namespace).exists() != (sharing is not None):
            state = "is no node of this lab yet" if sharing else "is there already, and not of this lab"
            raise UsageError(f"node {node.name!r}: network namespace {namespace} {state}")
        record = NodeRecord(lab=lab, placed=node, namespace=namespace)
        netns_state.save(record)
        groups = netns_groups.make_groups(self._hierarchies, lab, node.name, node.cpuset)
        netns_state.save(record.model_copy(update={"groups": groups}))
        if sharing is None:
            netns_wiring.add_namespace(groups[0], namespace)
        root, hosts = netns_state.root_folder(lab, node.name), netns_state.hosts_file(lab, node.name)
        root.mkdir()
        hosts.write_text(_hosts(placed, node), encoding="utf-8")
        node_log.begin(lab, node.name)
        holder = netns_holder.start_holder(node, namespace, groups, root, programs, hosts)
        netns_state.save(record.model_copy(update={"groups": groups, "holder": holder}))
        if sharing is None:
            netns_wiring.plug_in(groups[0], switch_name(lab), namespace, node, known)

    def connect_paths(self, placed: PlacedTopology, fast: bool) -> Paths:
        """The switch is there from the start: what is left is routes to emulated hosts, and steering if ``fast``."""
        for server, routes in placed.emulated_routes().items():
            set_routes(str(netns_state.namespace_path(placed.lab, placed.node(server))), routes)
        if not fast:
            return Paths(True, False, "not asked for")
        nodes = {}
        for node in placed.nodes:
            if node.addresses:
                interfaces = [f"eth{index}" for index in range(len(node.addresses))]
                nodes[node.name] = Ends(str(netns_state.namespace_path(placed.lab, node)), interfaces)
        servers = placed.with_role("server")
        ports = [netns_wiring.port_name(address) for server in servers for address in server.addresses.values()]
        return steered(placed, nodes, Ends(str(netns_state.NAMESPACES / switch_name(placed.lab)), ports))

    def run(
        self, lab: str, node: str, command: Sequence[str], timeout_s: float = 30.0, stdin: bytes = b""
    ) -> Completed:
        """The command's whole process group is killed when it does not end in time."""
        record = self._node(lab, node)
        started = subprocess.Popen(
            self._entering(record, command),
            env=netns_holder.environment(record.placed),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            stdout, stderr = started.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            _close(started)
            raise RuntimeFault(f"{command[0]} on {node} still runs after {timeout_s:g} s: killed") from None
        return Completed(
            exit_status(started.returncode), stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")
        )

    def start(self, lab: str, node: str, command: Sequence[str]) -> Process:
        """Raises RuntimeFault for a program that the node does not have."""
        record = self._node(lab, node)
        assert record.holder is not None
        if not _has_program(record.holder[0], record.placed, command[0]):
            raise RuntimeFault(f"{command[0]}: not found on {node} (programs of the project: make -C images)")
        title, environment = f"{command[0]} on {node}", netns_holder.environment(record.placed)
        return NetnsProcess(title, self._entering(record, command), environment, ProgramLog(lab, node, title))

    def cpu_time_ns(self, lab: str, node: str) -> int:
        """From the node's control group, which outlives its processes."""
        return control_groups.cpu_time_ns(self._node(lab, node).groups[0])

    def logs(self, lab: str, node: str) -> str:
        """See the contract."""
        netns_state.node(lab, node)
        return node_log.read(lab, node)

    def made(self, lab: str | None = None) -> Sequence[Made]:
        """Networks, then nodes, as recorded; a node whose holder has gone is "exited".

        All nodes see the programs as they are now, not as they were when the lab was made."""
        things = []
        programs = {IMAGE_ID_LABEL: digest()}
        for of in netns_state.labs() if lab is None else [lab]:
            labels = {"testbed.lab": of}
            for network in netns_state.networks(of):
                state = "made" if (netns_state.NAMESPACES / switch_name(of)).exists() else "gone"
                things.append(Made(of, "network", network.network.name, state, {}, labels))
            for node in netns_state.nodes(of):
                state = "running" if netns_holder.alive(node.holder) else "exited"
                own = {**labels, **programs, "testbed.role": node.placed.node.role}
                things.append(Made(of, "node", node.placed.name, state, dict(node.placed.addresses), own))
            things += [
                Made(of, kind, name, "of another version", {}, labels) for kind, name in netns_state.unreadable(of)
            ]
        return things

    def remove(self, lab: str, node: str | None = None) -> None:
        """Processes first, whatever they are: as long as one lives, its namespaces do."""
        namespaces = set(netns_state.namespaces(lab))
        begun = node is None and _is_begun(lab)
        if node is not None:
            nodes = netns_state.nodes(lab)
            others = {record.namespace for record in nodes if record.placed.name != node}
            namespaces &= {record.namespace for record in nodes if record.placed.name == node} - others
        self._end_processes(lab, node or "", sorted(namespaces))
        for namespace in sorted(namespaces):
            netns_wiring.delete_namespace(namespace)
        if begun:
            self._remove_late(lab)
        netns_state.forget(lab, node)
        node_log.forget(lab, node)

    def _remove_late(self, lab: str) -> None:
        """What a killed maker's last tool makes after all: it may join the lab's group after that was emptied."""
        deadline = time.monotonic() + _LATE_S
        while time.monotonic() < deadline:
            late = netns_state.namespaces(lab)
            self._end_processes(lab, "", late)
            for namespace in late:
                netns_wiring.delete_namespace(namespace)
            time.sleep(0.02)

    def _end_processes(self, lab: str, node: str, namespaces: Sequence[str]) -> None:
        """Until none is left and the control groups are gone."""
        deadline = time.monotonic() + _END_TIMEOUT_S
        while True:
            left = netns_holder.in_namespaces(namespaces) | netns_groups.processes(self._hierarchies, lab, node)
            netns_holder.kill(left)
            if not left and netns_groups.remove_groups(self._hierarchies, lab, node):
                return
            if time.monotonic() > deadline:
                of = f"node {node!r}" if node else f"lab {lab!r}"
                raise RuntimeFault(f"processes of {of} do not end: {', '.join(map(str, sorted(left)))}")
            time.sleep(0.005)

    def _node(self, lab: str, node: str) -> NodeRecord:
        record = netns_state.node(lab, node)
        if not netns_holder.alive(record.holder):
            raise RuntimeFault(f"node {node!r} of lab {lab!r} is not running")
        return record

    def _entering(self, record: NodeRecord, command: Sequence[str]) -> list[str]:
        assert record.holder is not None
        return netns_holder.entering(record.holder, record.placed, record.groups, command)


def _is_begun(lab: str) -> bool:
    """Whether something of a lab is recorded that does not stand: its maker was killed, or is at it."""
    try:
        nodes, networks = netns_state.nodes(lab), netns_state.networks(lab)
    except RuntimeFault:
        return False  # recorded by another version: nobody is making it now
    no_switch = bool(networks) and not (netns_state.NAMESPACES / switch_name(lab)).exists()
    return no_switch or not all(netns_holder.alive(node.holder) for node in nodes)


RUNTIMES.register("netns", NetnsRuntime)


def _close(killed: subprocess.Popen[bytes]) -> None:
    """Without reading on: what the program left in a session of its own may keep its pipes open."""
    killed.wait()
    for pipe in (killed.stdin, killed.stdout, killed.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _hosts(placed: PlacedTopology, node: PlacedNode) -> str:
    """/etc/hosts of a node: every node that it shares a network with, by name."""
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in placed.neighbours(node))]
    return "".join(f"{line}\n" for line in lines)


def _has_program(holder: int, placed: PlacedNode, program: str) -> bool:
    """Whether a node can find a program, looked up in the node's own file system."""
    root = f"/proc/{holder}/root"
    if "/" in program:
        return os.access(f"{root}{program}", os.X_OK)
    folders = netns_holder.environment(placed)["PATH"].split(":")
    return any(os.access(f"{root}{folder}/{program}", os.X_OK) for folder in folders)
