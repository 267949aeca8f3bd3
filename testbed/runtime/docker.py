"""Nodes as containers, networks as the engine's bridges; as root beside the engine, with the fast path."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Network
from typing import Any, ClassVar

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool, Ulimit

from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.link import switch
from testbed.model.placed import PlacedNetwork, PlacedNode, PlacedTopology
from testbed.runtime import docker_paths, node_log
from testbed.runtime.base import IMAGE_ID_LABEL, IMAGE_LABEL, RUNTIMES, Completed, Made, Paths, Process
from testbed.runtime.docker_cpu import CpuAccounts
from testbed.runtime.docker_engine import connect, explained, faults
from testbed.runtime.docker_images import build, ensure_image, image_tag, program_images
from testbed.runtime.docker_limits import open_files
from testbed.runtime.docker_process import DockerProcess, run_program
from testbed.runtime.docker_removal import remove_container, remove_networks
from testbed.runtime.docker_seccomp import seccomp_option
from testbed.runtime.node_log import ProgramLog
from testbed.topology.host import host_routes

_LAB, _NODE, _NETWORK, _ROLE = "testbed.lab", "testbed.node", "testbed.network", "testbed.role"
_STAY = ["sleep", "infinity"]
_REMOVERS = 12


class DockerRuntime:
    """See ``testbed.runtime.base.Runtime`` for the contract."""

    name = "docker"
    preference: ClassVar[int | None] = 1
    has_images: ClassVar[bool] = True

    def __init__(self) -> None:
        self._client = connect()
        self._api = self._client.api
        self._cpu_accounts = CpuAccounts(self._api)
        self._ids: dict[tuple[str, str], str] = {}
        self._tags: dict[str, str] = {}
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._nofile: int | None = None  # the engine's hard limit, once a node has told it

    def prepare_programs(self, progress: Callable[[str], None]) -> None:
        """See the contract: the base image, and the images of the programs."""
        build(progress)

    def describe(self) -> Mapping[str, str]:
        """See the contract."""
        with faults("asking the engine what it is"):
            version, info = self._api.version(), self._api.info()
        here = (info["Name"], info["KernelVersion"]) == (socket.gethostname(), platform.release())
        return {
            "engine": str(version["Version"]),
            "api": str(version["ApiVersion"]),
            "storage_driver": str(info["Driver"]),
            "cgroup_version": str(info.get("CgroupVersion", "1")),
            "cpus": str(info["NCPU"]),
            "kernel": str(info["KernelVersion"]),
            "local": "yes" if here else "no",
        }

    def taken_subnets(self) -> Mapping[str, str]:
        """See the contract."""
        taken = {}
        with faults("asking for the engine's networks"):
            networks = self._api.networks()
        for network in networks:
            for pool in (network.get("IPAM") or {}).get("Config") or ():
                subnet = pool.get("Subnet", "")
                if "." in subnet:
                    taken[subnet] = f"docker network {network['Name']}"
        return {**host_routes(), **taken}  # the engine's word is more telling than the route that it made

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        """See the contract."""
        name = _full_name(lab, network.name)
        with faults(f"network {name!r}"):
            if any(there["Name"] == name for there in self._api.networks(names=[name])):
                raise UsageError(f"network {name!r} is there already: `testbed down --lab {lab}` removes it")
        wanted = IPv4Network(network.subnet)
        for subnet, owner in self.taken_subnets().items():
            if IPv4Network(subnet, strict=False).overlaps(wanted):
                raise UsageError(f"subnet {network.subnet} of network {network.name!r} is in use: {subnet} ({owner})")
        with faults(f"network {name!r}"):
            try:
                self._api.create_network(
                    name,
                    driver="bridge",
                    options={"com.docker.network.bridge.name": _bridge_name(lab, network.name)},
                    ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=network.subnet)]),
                    labels={_LAB: lab, _NETWORK: network.name},
                    check_duplicate=True,
                )
            except APIError as error:
                # Between looking and making, somebody else may have been quicker.
                if error.status_code in (403, 409) or "overlap" in str(error.explanation):
                    raise UsageError(f"network {name!r} with subnet {network.subnet}: {explained(error)}") from None
                raise

    def create_node(self, placed: PlacedTopology, node: PlacedNode) -> None:
        """See the contract. A node that cannot be joined or started is removed again."""
        with faults(f"node {node.name!r}"):
            made = self._started(placed, node, node.node.nofile or self._nofile)
        node_log.begin(placed.lab, node.name)
        with self._lock:
            self._ids[placed.lab, node.name] = made

    def _started(self, placed: PlacedTopology, node: PlacedNode, nofile: int | None) -> str:
        made = self._create_container(placed, node, nofile)
        try:
            for network, address in list(node.addresses.items())[1:]:
                full_name = _full_name(placed.lab, network)
                self._api.connect_container_to_network(made, full_name, ipv4_address=address, aliases=[node.name])
            self._api.start(made)
            soft, hard = (nofile, nofile) if nofile else open_files(self._api, made, node.name)
        except BaseException:
            with suppress(DockerException, OSError):  # what comes first is told
                self._remove_container(made)
            raise
        self._nofile = self._nofile or (None if node.node.nofile else hard)
        if soft != hard:  # programs would stop at the soft one: once more, with both alike
            self._remove_container(made)
            return self._started(placed, node, hard)
        return made

    def _create_container(self, placed: PlacedTopology, node: PlacedNode, nofile: int | None) -> str:
        lab = placed.lab
        name, image = _full_name(lab, node.name), self._image(node)
        try:
            made = self._api.create_container(
                image,
                entrypoint=_STAY,
                command=[],
                name=name,
                hostname=None if node.node.shares_network_of else node.name,
                environment=dict(node.node.environment),
                labels={_LAB: lab, _NODE: node.name, _ROLE: node.node.role, IMAGE_LABEL: image},
                host_config=self._host_config(placed, node, nofile),
                networking_config=self._networking(lab, node),
            )
        except ImageNotFound:
            fix = f"docker pull {image}" if node.node.build is None else "testbed build"
            raise EnvironmentLack(f"the engine has no image {image}", fix) from None
        except APIError as error:
            if error.status_code == 409:
                raise UsageError(f"node {name!r} is there already: `testbed down --lab {lab}` removes it") from None
            raise
        return str(made["Id"])

    def connect_paths(self, placed: PlacedTopology, fast: bool) -> Paths:
        """See the contract."""
        routed = placed.emulated_routes()
        why_not = self._cannot_enter(placed)
        if why_not:
            for server, routes in routed.items():
                if routes:
                    docker_paths.route_by_helper(self._client, placed.lab, self._id(placed.lab, server), routes)
            return Paths(False, False, why_not)
        pids = {node.name: self._pid(placed.lab, node.name) for node in placed.nodes if node.addresses}
        docker_paths.route(pids, routed)
        if not fast:
            return Paths(False, False, "not asked for")
        bridges = {network.name: _bridge_name(placed.lab, network.name) for network in placed.networks}
        return docker_paths.lay_fast_path(placed, pids, bridges)

    def run(
        self, lab: str, node: str, command: Sequence[str], timeout_s: float = 30.0, stdin: bytes = b""
    ) -> Completed:
        """See the contract. Raises RuntimeFault for a program that the node does not have."""
        if timeout_s <= 0:
            raise ValueError("timeout_s must be above 0")
        return run_program(self._api, self._id(lab, node), f"{command[0]} on {node}", command, timeout_s, stdin)

    def start(self, lab: str, node: str, command: Sequence[str]) -> Process:
        """See the contract. Raises RuntimeFault for a program that the node does not have."""
        title = f"{command[0]} on {node}"
        return DockerProcess(self._api, self._id(lab, node), title, command, ProgramLog(lab, node, title))

    def cpu_time_ns(self, lab: str, node: str) -> int:
        """See the contract."""
        return self._cpu_accounts.used_ns(self._id(lab, node), node)

    def logs(self, lab: str, node: str) -> str:
        """See the contract."""
        self._id(lab, node)
        return node_log.read(lab, node)

    def made(self, lab: str | None = None) -> Sequence[Made]:
        """See the contract."""
        label = _LAB if lab is None else f"{_LAB}={lab}"
        with faults("asking the engine what stands"):
            networks = self._api.networks(filters={"label": label})
            containers = self._api.containers(all=True, filters={"label": label})
        found = [_made_network(entry) for entry in networks] + [_made_node(entry) for entry in containers]
        known = {made.lab for made in found}
        switches = [name for name in switch.namespaces() if lab in (None, name) and name not in known]
        return found + [Made(name, "network", "switch", "made", {}, {_LAB: name}) for name in switches]

    def remove(self, lab: str, node: str | None = None) -> None:
        """See the contract."""
        label = f"{_LAB}={lab}"
        if node is not None:
            with faults(f"removing node {node!r}"):
                for entry in self._api.containers(all=True, filters={"label": [label, f"{_NODE}={node}"]}):
                    self._remove_container(entry["Id"])
            with self._lock:
                self._ids.pop((lab, node), None)
            node_log.forget(lab, node)
            return
        try:
            with faults(f"removing lab {lab!r}"):
                containers = self._api.containers(all=True, filters={"label": label})
                with ThreadPoolExecutor(_REMOVERS) as pool:
                    list(pool.map(self._remove_container, [entry["Id"] for entry in containers]))
                remove_networks(self._api, self._api.networks(filters={"label": label}))
        finally:
            if lab in switch.namespaces():
                switch.remove_namespace(switch.switch_name(lab))
            with self._lock:
                self._ids = {key: value for key, value in self._ids.items() if key[0] != lab}
            node_log.forget(lab)

    def _remove_container(self, container: str) -> None:
        self._cpu_accounts.forget(container)
        remove_container(self._api, container)

    def _image(self, node: PlacedNode) -> str:
        """The tag. Only our programs' images must be built before: others are built now, when they are first used."""
        build_from = node.node.build
        if build_from is None:
            return node.node.image
        with self._building:
            if build_from not in self._tags:
                if build_from in program_images():
                    self._tags[build_from] = image_tag(build_from)
                else:
                    self._tags[build_from] = ensure_image(self._client, build_from, lambda _: None)
            return self._tags[build_from]

    def _host_config(self, placed: PlacedTopology, node: PlacedNode, nofile: int | None) -> Any:
        lab, own = placed.lab, node.node
        shared = own.shares_network_of
        mode = f"container:{_full_name(lab, shared)}" if shared else _full_name(lab, next(iter(node.addresses)))
        limit = None if nofile is None else [Ulimit(name="nofile", soft=nofile, hard=nofile)]
        return self._api.create_host_config(
            network_mode=mode,
            cap_drop=list(own.cap_drop),
            cap_add=list(own.cap_add),
            read_only=own.read_only,
            tmpfs=dict(_tmpfs(entry) for entry in own.tmpfs),
            sysctls=dict(own.sysctls) if not shared else None,
            # Beside the engine's name server, whose rules the fast path removes; shared with the network.
            extra_hosts=None if shared else [f"{name}:{address}" for name, address in placed.neighbours(node)],
            cpuset_cpus=node.cpuset,
            ulimits=limit,
            security_opt=seccomp_option(node.name, own.seccomp),
            init=True,  # reaps what programs leave behind when they end
        )

    def _networking(self, lab: str, node: PlacedNode) -> Any:
        """The first network: the engine takes one at creation, the others are connected before the start.

        The node's own name is an alias there, so that others that are put on the network find it by that.
        """
        endpoints = {
            _full_name(lab, network): self._api.create_endpoint_config(ipv4_address=address, aliases=[node.name])
            for network, address in list(node.addresses.items())[:1]
        }
        config: Any = self._api.create_networking_config  # its annotation names one endpoint, it takes a mapping
        return config(endpoints) if endpoints else None

    def _id(self, lab: str, node: str) -> str:
        with self._lock:
            if (lab, node) in self._ids:
                return self._ids[lab, node]
        with faults(f"node {node!r} of lab {lab!r}"):
            try:
                found = str(self._api.inspect_container(_full_name(lab, node))["Id"])
            except NotFound:
                raise RuntimeFault(f"lab {lab!r} has no node {node!r}") from None
        with self._lock:
            self._ids[lab, node] = found
        return found

    def _pid(self, lab: str, node: str) -> int:
        container = self._id(lab, node)
        with faults(f"node {node!r}"):
            state = self._api.inspect_container(container)["State"]
        if state["Pid"] == 0:
            raise RuntimeFault(f"node {node!r} of lab {lab!r} is not running: {state['Status']} {state['Error']}")
        return int(state["Pid"])

    def _cannot_enter(self, placed: PlacedTopology) -> str:
        """Why the nodes' namespaces cannot be entered from here; "" if they can."""
        if not sys.platform.startswith("linux"):
            return "this is not Linux"
        if os.geteuid() != 0:
            return "not root: receiving is not steered, and frames pass the engine's own bridge"
        node = next(node for node in placed.nodes if node.addresses)
        return docker_paths.not_here(self._pid(placed.lab, node.name), self._id(placed.lab, node.name))


def _full_name(lab: str, name: str) -> str:
    return f"tb-{lab}.{name}"  # no name has a dot: lab a-b with node c is not lab a with node b-c


def _bridge_name(lab: str, network: str) -> str:
    """At most 15 characters, different for every lab and network."""
    return "tb" + hashlib.sha256(f"{lab}\0{network}".encode()).hexdigest()[:10]


def _tmpfs(entry: str) -> tuple[str, str]:
    """ "/srv:size=64m" → its path and the mount's options."""
    path, _, options = entry.partition(":")
    return path, options


def _made_network(entry: Mapping[str, Any]) -> Made:
    labels = entry["Labels"]
    return Made(labels[_LAB], "network", labels.get(_NETWORK, entry["Name"]), "made", {}, labels)


def _made_node(entry: Mapping[str, Any]) -> Made:
    labels, networks = entry["Labels"], entry["NetworkSettings"]["Networks"]
    labels = {IMAGE_LABEL: entry["Image"], **labels, IMAGE_ID_LABEL: entry["ImageID"]}
    addresses = {
        name.removeprefix(_full_name(labels[_LAB], "")): network["IPAddress"]
        for name, network in networks.items()
        if network["IPAddress"]
    }
    return Made(labels[_LAB], "node", labels.get(_NODE, "?"), entry["State"], addresses, labels)


RUNTIMES.register("docker", DockerRuntime)
