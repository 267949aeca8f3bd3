"""Namespaces, bridges and cables, laid by iproute2's ``ip``.

Every tool runs inside a control group of the lab: a process that is killed while it makes a lab leaves the tool that
it has just started, which would go on making what another process is removing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from testbed.errors import EnvironmentLack, RuntimeFault
from testbed.link.switch import QUIET
from testbed.model.placed import PlacedNetwork, PlacedNode
from testbed.runtime.netns_holder import find_tool

_TIMEOUT_S = 20.0
_IN_GROUP = ("/bin/sh", "-c", 'echo 0 > "$0/cgroup.procs" && exec "$@"')

_SET = 'for i; do [ ! -e "/proc/sys/${i%=*}" ] || echo "${i#*=}" > "/proc/sys/${i%=*}" || exit 1; done'


def add_namespace(group: str, name: str) -> None:
    """Make a network namespace that ``ip netns list`` shows."""
    tool(group, "ip", "netns", "add", name)


def delete_namespace(name: str) -> None:
    """Remove a network namespace; everything that only it held goes with it."""
    tool("", "ip", "netns", "delete", name)


def quieten(group: str, switch: str) -> None:
    """Settings of a new switch namespace, as far as this kernel has them."""
    settings = [f"net/{name}={value}" for name, value in QUIET.items()]
    tool(group, "nsenter", f"--net=/run/netns/{switch}", "sh", "-c", _SET, "sh", *settings)


def add_bridge(group: str, switch: str, network: PlacedNetwork) -> None:
    """The bridge of a network."""
    bridge = bridge_name(network)
    ip_batch(
        group,
        switch,
        f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set {bridge} up",
    )


def bridge_name(network: PlacedNetwork) -> str:
    """Its bridge's name in the switch namespace."""
    return f"b{int(IPv4Network(network.subnet).network_address):08x}"


def port_name(address: str) -> str:
    """The name of the bridge's end of the cable to the interface with that address."""
    return f"p{int(IPv4Address(address)):08x}"


def plug_in(group: str, switch: str, namespace: str, node: PlacedNode, networks: Mapping[str, PlacedNetwork]) -> None:
    """A cable from a port of each bridge to an interface of the node. Names and MACs come from the addresses."""
    ports, interfaces = [], ["link set lo up"]
    for index, name in enumerate(sorted(node.addresses)):
        network, address = networks[name], IPv4Address(node.addresses[name])
        port, mac = port_name(str(address)), "02:42:" + ":".join(f"{part:02x}" for part in address.packed)
        length = IPv4Network(network.subnet).prefixlen
        ports += [
            f"link add {port} type veth peer name eth{index} netns {namespace} address {mac}",
            f"link set {port} master {bridge_name(network)} up",
        ]
        interfaces += [f"addr add {address}/{length} brd + dev eth{index}", f"link set eth{index} up"]
    if ports:
        ip_batch(group, switch, *ports)
    ip_batch(group, namespace, *interfaces)


def ip_batch(group: str, namespace: str, *lines: str) -> None:
    """Several commands of ``ip`` in one process, in a namespace; the first that fails ends them."""
    tool(group, "ip", "-netns", namespace, "-batch", "-", stdin="".join(f"{line}\n" for line in lines))


def tool(group: str, name: str, *arguments: str, stdin: str = "") -> str:
    """Run an administration program, in a control group if one is named; what it printed.

    A terminal's Ctrl-C goes to a whole process group: in one of its own, the program ends what it began.
    Raises RuntimeFault with its words.
    """
    path = find_tool(name)
    if path is None:
        raise EnvironmentLack(f"{name}: not installed", "apt-get install iproute2 util-linux")
    command = [*_IN_GROUP, group, path, *arguments] if group else [path, *arguments]
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeFault(f"{name} {' '.join(arguments)}: has not ended after {_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        what = "; ".join(done.stderr.strip().splitlines()) or f"status {done.returncode}"
        raise RuntimeFault(f"{name} {' '.join(arguments)}: {what}")
    return done.stdout
