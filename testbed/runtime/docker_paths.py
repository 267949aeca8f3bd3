"""How frames travel between containers: the fast path and the routes to emulated hosts, laid from outside."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from testbed.errors import EnvironmentLack, RuntimeFault
from testbed.link import firewall, switch
from testbed.link import routes as link_routes
from testbed.model.placed import PlacedTopology
from testbed.runtime.base import Paths
from testbed.runtime.docker_engine import faults
from testbed.runtime.docker_images import image_tag
from testbed.runtime.receiving import Ends, steered

_HELPER_IMAGE = "link"
"""Has iproute2; the servers' own images stay untouched."""


def not_here(pid: int, container: str) -> str:
    """Why a container's process cannot be reached from here; "" if it is that process."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        groups = ""
    return "" if container in groups else "the engine's containers are not on this machine"


def route(pids: Mapping[str, int], routed: Mapping[str, Mapping[str, str]]) -> None:
    """Set the routes in the servers' namespaces."""
    for server, routes in routed.items():
        link_routes.set_routes(_namespace(pids[server]), routes)


def route_by_helper(client: docker.DockerClient, lab: str, server: str, routes: Mapping[str, str]) -> None:
    """Set them by a container that shares the server's network. Raises EnvironmentLack if its image is missing."""
    tag = image_tag(_HELPER_IMAGE)
    batch = "\n".join(link_routes.route_commands(routes))
    with faults("routes to the emulated hosts"):
        try:
            client.images.get(tag)  # else it would be looked for in a registry
            client.containers.run(
                tag,
                ["sh", "-c", 'echo "$0" | ip -batch -', batch],
                network_mode=f"container:{server}",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN"],
                labels={"testbed.lab": lab, "testbed.node": "routes"},
                remove=True,
                stderr=True,
            )
        except ImageNotFound:
            raise EnvironmentLack(f"the engine has no image {tag}", "testbed build") from None
        except docker.errors.ContainerError as error:
            words = error.stderr.decode("utf-8", "replace") if isinstance(error.stderr, bytes) else str(error.stderr)
            raise RuntimeFault(f"routes to the emulated hosts: {' '.join(words.split())}") from None


def lay_fast_path(placed: PlacedTopology, pids: Mapping[str, int], bridges: Mapping[str, str]) -> Paths:
    """Move the host-side ends into the lab's switch, and steer receiving (``steered``)."""
    members: dict[str, list[int]] = {network.name: [] for network in placed.networks}
    nodes: dict[str, Ends] = {}
    of_servers: list[int] = []
    for node in placed.nodes:
        if node.addresses:
            namespace = _namespace(pids[node.name])
            ports = switch.ports(namespace, list(node.addresses.values()))
            nodes[node.name] = Ends(namespace, [port.interface for port in ports.values()])
            for network, address in node.addresses.items():
                members[network].append(ports[address].host_index)
            if node.node.role == "server":
                of_servers += [port.host_index for port in ports.values()]
    names = switch.lay(placed.lab, members, bridges)
    ends = Ends(switch.switch_path(placed.lab), [names[index] for index in of_servers])
    paths = steered(placed, nodes, ends)
    if not paths.steered:
        return paths
    return Paths(True, True, "; ".join(filter(None, (paths.reason, _without_firewalls(pids)))))


def _without_firewalls(pids: Mapping[str, int]) -> str:
    """Keep the engine's rules away from the nodes' packets; "", or where that could not be done and why."""
    with ThreadPoolExecutor(len(pids)) as pool:
        for name, why_not in zip(pids, pool.map(firewall.clear, map(_namespace, pids.values())), strict=True):
            if why_not:
                return f"the engine's packet rules stay in {name}: {why_not}"
    return ""


def _namespace(pid: int) -> str:
    return f"/proc/{pid}/ns/net"
