"""Nodes as containers, networks as the engine's bridges; as root beside the engine, with the fast path."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import sys
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import Any

from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool, Ulimit

from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.link import switch
from testbed.model.placed import PlacedNetwork, PlacedNode, PlacedTopology
from testbed.runtime import docker_paths
from testbed.runtime.base import RUNTIMES, Completed, Made, Paths, Process
from testbed.runtime.docker_engine import connect
from testbed.runtime.docker_images import image_tag
from testbed.runtime.docker_process import DockerProcess, run_exec
from testbed.topology.host import host_routes

_LAB, _NODE, _NETWORK, _ROLE = "testbed.lab", "testbed.node", "testbed.network", "testbed.role"
_STAY = ["sleep", "infinity"]
_REMOVERS = 12
_KILLED = 137


class DockerRuntime:
    """See ``testbed.runtime.base.Runtime`` for the contract."""

    name = "docker"

    def __init__(self) -> None:
        self._client = connect()
        self._api = self._client.api
        self._serial = itertools.count()
        self._ids: dict[tuple[str, str], str] = {}
        self._tags: dict[str, str] = {}
        self._lock = threading.Lock()

    def describe(self) -> Mapping[str, str]:
        """See the contract."""
        version, info = self._api.version(), self._api.info()
        return {
            "engine": str(version["Version"]),
            "api": str(version["ApiVersion"]),
            "storage_driver": str(info["Driver"]),
            "cgroup_version": str(info.get("CgroupVersion", "1")),
            "cpus": str(info["NCPU"]),
        }

    def taken_subnets(self) -> Mapping[str, str]:
        """See the contract."""
        taken = {}
        for network in self._api.networks():
            for pool in (network.get("IPAM") or {}).get("Config") or ():
                subnet = pool.get("Subnet", "")
                if "." in subnet:
                    taken[subnet] = f"docker network {network['Name']}"
        return {**host_routes(), **taken}  # the engine's word is more telling than the route that it made

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        """See the contract."""
        name = _full_name(lab, network.name)
        if self._api.networks(names=[f"^{name}$"]):
            raise UsageError(f"network {name!r} is there already: `testbed down --lab {lab}` removes it")
        wanted = IPv4Network(network.subnet)
        for subnet, owner in self.taken_subnets().items():
            if IPv4Network(subnet, strict=False).overlaps(wanted):
                raise UsageError(f"subnet {network.subnet} of network {network.name!r} is in use: {subnet} ({owner})")
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
            if error.status_code in (403, 409) or "overlap" in str(error.explanation):
                raise UsageError(f"network {name!r} with subnet {network.subnet}: {error.explanation}") from None
            raise RuntimeFault(f"network {name!r}: {error.explanation}") from None

    def create_node(self, placed: PlacedTopology, node: PlacedNode) -> None:
        """See the contract."""
        name = _full_name(placed.lab, node.name)
        networks = list(node.addresses.items())
        try:
            made = self._api.create_container(
                self._image(node),
                entrypoint=_STAY,
                command=[],
                name=name,
                hostname=None if node.node.shares_network_of else node.name,
                environment=dict(node.node.environment),
                labels={_LAB: placed.lab, _NODE: node.name, _ROLE: node.node.role},
                host_config=self._host_config(placed.lab, node),
                networking_config=self._networking(placed.lab, networks[:1]),
            )["Id"]
            for network, address in networks[1:]:
                self._api.connect_container_to_network(made, _full_name(placed.lab, network), ipv4_address=address)
            self._api.start(made)
        except ImageNotFound:
            raise EnvironmentLack(f"the engine has no image {self._image(node)}", "testbed build") from None
        except APIError as error:
            if error.status_code == 409:
                raise UsageError(
                    f"node {name!r} is there already: `testbed down --lab {placed.lab}` removes it"
                ) from None
            raise RuntimeFault(f"node {node.name!r}: {error.explanation}") from None
        with self._lock:
            self._ids[placed.lab, node.name] = made

    def connect_paths(self, placed: PlacedTopology, fast: bool) -> Paths:
        """See the contract."""
        routed = docker_paths.emulated_routes(placed)
        why_not = self._cannot_enter(placed)
        if why_not:
            self._route_by_helper(placed.lab, routed)
            return Paths(False, False, why_not)
        pids = {node.name: self._pid(placed.lab, node.name) for node in placed.nodes if node.addresses}
        docker_paths.route(pids, routed)
        if not fast:
            return Paths(False, False, "not asked for")
        bridges = {network.name: _bridge_name(placed.lab, network.name) for network in placed.networks}
        docker_paths.lay_fast_path(placed, pids, bridges)
        return Paths(True, True, "")

    def run(
        self, lab: str, node: str, command: Sequence[str], timeout_s: float = 30.0, stdin: bytes = b""
    ) -> Completed:
        """See the contract."""
        if timeout_s <= 0:
            raise ValueError("timeout_s must be above 0")
        # timeout(1) ends it inside the container: an exec has no handle by which the engine could.
        limited = ["timeout", "-s", "KILL", f"{timeout_s:.3f}", *command]
        began = time.monotonic()
        try:
            status, out, err = run_exec(self._api, self._id(lab, node), limited, stdin or None)
        except APIError as error:
            raise RuntimeFault(f"{command[0]} on {node}: {error.explanation}") from None
        if status == _KILLED and time.monotonic() - began >= timeout_s:
            raise RuntimeFault(f"{command[0]} on {node} did not end within {timeout_s:g} s")
        return Completed(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def start(self, lab: str, node: str, command: Sequence[str]) -> Process:
        """See the contract."""
        with self._lock:
            serial = f"{os.getpid()}-{next(self._serial)}"
        return DockerProcess(self._client, self._id(lab, node), f"{command[0]} on {node}", command, serial)

    def put_files(self, lab: str, node: str, folder: str, files: Mapping[str, bytes]) -> None:
        """See the contract. Through tar inside the container: the engine's own copy goes beneath a tmpfs, unseen."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
        script = 'mkdir -p "$0" && exec tar -x -o -C "$0"'
        command = ["/bin/sh", "-c", script, folder]
        status, out, err = run_exec(self._api, self._id(lab, node), command, archive.getvalue())
        if status != 0:
            raise RuntimeFault(f"files for {folder} on {node}: {(out + err).decode(errors='replace').strip()}")

    def cpu_time_ns(self, lab: str, node: str) -> int:
        """See the contract."""
        stats: Any = self._api.stats(self._id(lab, node), stream=False, one_shot=True)
        if isinstance(stats, bytes):
            stats = json.loads(stats)
        return int(stats["cpu_stats"]["cpu_usage"]["total_usage"])

    def logs(self, lab: str, node: str) -> str:
        """See the contract."""
        text: bytes = self._api.logs(self._id(lab, node))
        return text.decode("utf-8", "replace")

    def made(self, lab: str | None = None) -> Sequence[Made]:
        """See the contract."""
        label = _LAB if lab is None else f"{_LAB}={lab}"
        found = [
            Made(
                entry["Labels"][_LAB],
                "network",
                entry["Labels"].get(_NETWORK, entry["Name"]),
                "made",
                {},
                entry["Labels"],
            )
            for entry in self._api.networks(filters={"label": label})
        ]
        for entry in self._api.containers(all=True, filters={"label": label}):
            labels = entry["Labels"]
            networks = entry["NetworkSettings"]["Networks"]
            addresses = {
                name.removeprefix(_full_name(labels[_LAB], "")): network["IPAddress"]
                for name, network in networks.items()
                if network["IPAddress"]
            }
            found.append(Made(labels[_LAB], "node", labels.get(_NODE, "?"), entry["State"], addresses, labels))
        switches = [name for name in switch.namespaces() if lab in (None, name)]
        known = {made.lab for made in found}
        return found + [
            Made(name, "network", "switch", "made", {}, {_LAB: name}) for name in switches if name not in known
        ]

    def remove(self, lab: str) -> None:
        """See the contract."""
        containers = self._api.containers(all=True, filters={"label": f"{_LAB}={lab}"})
        with ThreadPoolExecutor(_REMOVERS) as pool:
            list(pool.map(self._remove_container, [entry["Id"] for entry in containers]))
        for network in self._api.networks(filters={"label": f"{_LAB}={lab}"}):
            try:
                self._api.remove_network(network["Id"])
            except NotFound:
                continue  # another process is removing the same lab
            except APIError as error:
                raise RuntimeFault(f"network {network['Name']!r}: {error.explanation}") from None
        if lab in switch.namespaces():
            switch.remove_namespace(switch.switch_name(lab))
        with self._lock:
            self._ids = {key: value for key, value in self._ids.items() if key[0] != lab}

    def _remove_container(self, container: str) -> None:
        try:
            self._api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # 409: its removal is under way already
                raise RuntimeFault(f"container {container[:12]}: {error.explanation}") from None

    def _image(self, node: PlacedNode) -> str:
        build_from = node.node.build
        if build_from is None:
            return node.node.image
        with self._lock:
            if build_from not in self._tags:
                self._tags[build_from] = image_tag(build_from)
            return self._tags[build_from]

    def _host_config(self, lab: str, node: PlacedNode) -> Any:
        own = node.node
        shared = own.shares_network_of
        mode = f"container:{_full_name(lab, shared)}" if shared else _full_name(lab, next(iter(node.addresses)))
        limit = None if own.nofile is None else [Ulimit(name="nofile", soft=own.nofile, hard=own.nofile)]
        return self._api.create_host_config(
            network_mode=mode,
            cap_drop=list(own.cap_drop),
            cap_add=list(own.cap_add),
            read_only=own.read_only,
            tmpfs=dict(_tmpfs(entry) for entry in own.tmpfs),
            sysctls=dict(own.sysctls) if not shared else None,
            cpuset_cpus=node.cpuset,
            ulimits=limit,
        )

    def _networking(self, lab: str, first: list[tuple[str, str]]) -> Any:
        """The engine takes one network at creation; the others are connected before the start."""
        endpoints = {
            _full_name(lab, network): self._api.create_endpoint_config(ipv4_address=address)
            for network, address in first
        }
        config: Any = self._api.create_networking_config  # its annotation names one endpoint, it takes a mapping
        return config(endpoints) if endpoints else None

    def _id(self, lab: str, node: str) -> str:
        with self._lock:
            if (lab, node) in self._ids:
                return self._ids[lab, node]
        try:
            found = str(self._api.inspect_container(_full_name(lab, node))["Id"])
        except NotFound:
            raise RuntimeFault(f"lab {lab!r} has no node {node!r}") from None
        with self._lock:
            self._ids[lab, node] = found
        return found

    def _pid(self, lab: str, node: str) -> int:
        pid = int(self._api.inspect_container(self._id(lab, node))["State"]["Pid"])
        if pid == 0:
            raise RuntimeFault(f"node {node!r} of lab {lab!r} is not running: {self.logs(lab, node)[-200:]}")
        return pid

    def _cannot_enter(self, placed: PlacedTopology) -> str:
        """Why the nodes' namespaces cannot be entered from here; "" if they can."""
        if not sys.platform.startswith("linux"):
            return "this is not Linux"
        if os.geteuid() != 0:
            return "not root: receiving is not steered, and frames pass the engine's own bridge"
        node = next(node for node in placed.nodes if node.addresses)
        return docker_paths.not_here(self._pid(placed.lab, node.name), self._id(placed.lab, node.name))

    def _route_by_helper(self, lab: str, routed: Mapping[str, Mapping[str, str]]) -> None:
        """A container that lives for a moment in the server's network, with the one capability that it needs."""
        for server, routes in routed.items():
            if routes:
                docker_paths.route_by_helper(self._client, lab, self._id(lab, server), routes)


def _full_name(lab: str, name: str) -> str:
    return f"tb-{lab}.{name}"  # no name has a dot: lab a-b with node c is not lab a with node b-c


def _bridge_name(lab: str, network: str) -> str:
    """At most 15 characters, different for every lab and network."""
    return "tb" + hashlib.sha256(f"{lab}\0{network}".encode()).hexdigest()[:10]


def _tmpfs(entry: str) -> tuple[str, str]:
    """ "/srv:size=64m" → its path and the mount's options."""
    path, _, options = entry.partition(":")
    return path, options


RUNTIMES.register("docker", DockerRuntime)
