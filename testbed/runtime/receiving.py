"""Who pays for receiving in a lab whose frames take its own switch, whatever made the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from testbed.errors import RuntimeFault
from testbed.link import firewall
from testbed.link.steering import steer
from testbed.model.placed import PlacedTopology, cpu_numbers
from testbed.runtime.base import Paths


@dataclass(frozen=True)
class Ends:
    """Interfaces in one network namespace, which is named by its path."""

    namespace: str
    interfaces: Sequence[str]


def steered(placed: PlacedTopology, nodes: Mapping[str, Ends], towards_servers: Ends) -> Paths:
    """Steer what each node receives to the node's own CPUs, and the switch's work for servers away from theirs.

    The nodes' kernels are kept out of what is for emulated hosts.

    ``towards_servers`` are the switch's ends of the servers' cables. Where the kernel refuses, the frames still take
    the switch, and the reason says what is missing.
    """
    unplaced = [name for name in nodes if placed.node(name).cpuset is None]
    if unplaced:
        return Paths(True, False, f"not steered: no CPUs of their own for {', '.join(unplaced)}")
    try:
        for name, ends in nodes.items():
            steer(ends.namespace, ends.interfaces, cpu_numbers(placed.node(name).cpuset or ""))
        if towards_servers.interfaces and placed.switching_cpus():
            steer(towards_servers.namespace, towards_servers.interfaces, placed.switching_cpus())
    except RuntimeFault as fault:
        return Paths(True, False, str(fault))
    return Paths(True, True, _left_to_emulated_hosts(placed, nodes))


def _left_to_emulated_hosts(placed: PlacedTopology, nodes: Mapping[str, Ends]) -> str:
    """ "", or the first node where it could not be done, and why."""
    prefixes = {name: prefix for name in nodes if (prefix := placed.node(name).emulated_prefix) is not None}
    with ThreadPoolExecutor(max(1, len(prefixes))) as pool:
        told = pool.map(firewall.ignore, (nodes[name].namespace for name in prefixes), prefixes.values())
        for name, why_not in zip(prefixes, told, strict=True):
            if why_not:
                return f"{name}'s kernel reads what is for its emulated hosts: {why_not}"
    return ""
