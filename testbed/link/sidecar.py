"""A container (or namespace) beside a node that shares its network: where linkem, iptables, probes and tcpdump run.

The node itself keeps its image and gets no capability. The sidecar is made when it is first needed, carries the lab's
labels, and goes away with the lab.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.errors import RuntimeFault, UsageError
from testbed.model.placed import PlacedNode, PlacedTopology
from testbed.model.topology import Node
from testbed.runtime.asking import asked
from testbed.runtime.base import Completed, Process, Runtime
from testbed.runtime.node_files import put_files

_SUFFIX = "-link"
_LONGEST_NODE_NAME = 31 - len(_SUFFIX)
_IMAGE, BUILD = "testbed/link", "link"
_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_NICE", "SETGID", "SETUID")
"""Rules and queues; copies and captures; linkem must not wait for a busy server; tcpdump insists on the last two."""

_STATE_FOLDER = "/tmp/testbed-links"


def sidecar_name(node: str) -> str:
    """The name of a node's sidecar as a node of the lab."""
    return node + _SUFFIX


class Sidecar:
    """The sidecar of one node: a ``Place``. Safe to use from several threads."""

    def __init__(self, runtime: Runtime, placed: PlacedTopology, node: str, made: bool) -> None:
        """``made``: whether it is there already (``sidecar_name`` is what to look for)."""
        if len(node) > _LONGEST_NODE_NAME:
            raise UsageError(f"node {node!r}: a name of at most {_LONGEST_NODE_NAME} characters can be shaped")
        self._runtime = runtime
        self._placed = placed
        self._node = node
        self._name = sidecar_name(node)
        self._lock = threading.Lock()
        self._made = made

    @property
    def is_made(self) -> bool:
        """Whether it is there: nothing of ours is beside a node without."""
        return self._made

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        """Run a program beside the node to its end."""
        self._ensure()
        return self._runtime.run(self._placed.lab, self._name, command, timeout_s)

    def start(self, command: Sequence[str]) -> Process:
        """Start a program beside the node; it ends with the lab at the latest."""
        self._ensure()
        return self._runtime.start(self._placed.lab, self._name, command)

    def interfaces(self) -> dict[str, str]:
        """Address → interface, as the node has them: names differ between engines."""
        done = self._told(["ip", "-json", "-4", "address", "show"])
        if done.status != 0:
            raise RuntimeFault(f"interfaces of {self._node}: {done.stderr.strip()[:200]}")
        links: list[dict[str, Any]] = json.loads(done.stdout)
        return {entry["local"]: link["ifname"] for link in links for entry in link.get("addr_info", ())}

    def namespace(self) -> str | None:
        """The path of the network namespace on this machine; None where it cannot be entered from here."""
        if os.geteuid() != 0 or self._runtime.describe().get("local") != "yes":
            return None
        done = self._told(["stat", "--dereference", "--format=%i", "/proc/self/ns/net"])
        return _namespace_of_inode(int(done.stdout)) if done.status == 0 else None

    def _told(self, command: Sequence[str]) -> Completed:
        return asked(self.run, command, f"beside {self._node}")

    def keep(self, name: str, text: str) -> None:
        """Store a text with the lab, for a later process; it is forgotten with the lab."""
        self._ensure()
        put_files(self._runtime, self._placed.lab, self._name, _STATE_FOLDER, {name: text.encode()})

    def kept(self, name: str) -> str | None:
        """What was stored under that name; None if nothing was."""
        if not self._made:
            return None
        done = self.run(["cat", f"{_STATE_FOLDER}/{name}"])
        return done.stdout if done.status == 0 else None

    def _ensure(self) -> None:
        with self._lock:
            if not self._made:
                self._runtime.create_node(self._placed, self._described())
                self._made = True

    def _described(self) -> PlacedNode:
        node = Node(
            name=self._name,
            image=_IMAGE,
            build=BUILD,
            cap_add=_CAPABILITIES,
            environment={"XTABLES_LOCKFILE": "/tmp/xtables.lock"},  # the root is read-only
            tmpfs=("/tmp",),
            shares_network_of=self._node,
        )
        return PlacedNode(node=node, addresses={}, cpuset=self._placed.node(self._node).cpuset)


def _namespace_of_inode(inode: int) -> str | None:
    """By way of the oldest process that is in it: the node's own, which lives as long as the node does."""
    found: list[tuple[int, str]] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        path = process / "ns" / "net"
        try:
            if path.stat().st_ino == inode:
                # The time of its start is the 22nd field of proc(5), the 20th behind the name, which may hold blanks.
                started = int((process / "stat").read_text().rpartition(")")[2].split()[19])
                found.append((started, str(path)))
        except OSError:
            continue  # the process has ended meanwhile
    return min(found)[1] if found else None
