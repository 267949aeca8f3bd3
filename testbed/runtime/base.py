"""The contract of a runtime: what makes networks, nodes and processes out of a placed topology.

Twelve methods. Low layers raise (``RuntimeFault``, ``EnvironmentLack``, ``UsageError``), nothing prints. Every method
may be called from several threads at once for different nodes. What a runtime makes is labelled with its lab, so that
any later process can find and remove it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from testbed.model.placed import PlacedNetwork, PlacedNode, PlacedTopology
from testbed.registry import Registry


@dataclass(frozen=True)
class Completed:
    """A finished command: its exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


IMAGE_LABEL, IMAGE_ID_LABEL = "testbed.image", "testbed.image_id"
"""Labels of a node that stands: the tag of the image that it was made from, where there are images, and the digest of
that image or of the programs that the node has."""


@dataclass(frozen=True)
class Made:
    """One thing that stands on the machine: ``kind`` is "node" or "network"; ``state`` is the runtime's word for it."""

    lab: str
    kind: str
    name: str
    state: str
    addresses: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Paths:
    """How frames travel between the nodes of a lab.

    ``switched``: the host-side ends are in the lab's own switch namespace. ``steered``: receivers pay for receiving
    on their own CPUs. ``reason``: why not, in one line, where either is False; "" otherwise.
    """

    switched: bool
    steered: bool
    reason: str


class Process(Protocol):
    """A running program in a node that prints lines on stdout."""

    def lines(self, timeout_s: float) -> list[str]:
        """All complete stdout lines that came since the last call; waits up to ``timeout_s`` for the first one."""
        ...

    def signal(self, name: str) -> None:
        """Send a signal by name ("TERM", "USR1", "KILL"). No error if the program has ended."""
        ...

    def tell(self, line: str) -> None:
        """Write a line on its stdin. No error if the program has ended, or reads none."""
        ...

    def prefer(self) -> bool:
        """Let it run before the others of its CPUs (nice -20), from outside: the node needs no capability. False where
        this process may not do that: not root, or the node is on another machine."""
        ...

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises ProgramError if it still runs after ``timeout_s``. Lines stay readable."""
        ...

    def stderr(self) -> str:
        """What it has written on stderr so far (the last 64 KiB)."""
        ...


class Runtime(Protocol):
    """See the module's text."""

    name: str
    preference: ClassVar[int | None]
    """What "auto" tries first has the lowest number; None for what is only used by name."""
    has_images: ClassVar[bool]
    """Whether a node is made of its image; else it sees this machine's own files."""

    def prepare_programs(self, progress: Callable[[str], None]) -> None:
        """Build what the nodes of the default world need where it is missing, telling ``progress`` of each step.

        Raises EnvironmentLack without the means, RunError with the build's last words.
        """
        ...

    def describe(self) -> Mapping[str, str]:
        """Facts for the manifest: versions, driver, whether the engine is on this machine."""
        ...

    def taken_subnets(self) -> Mapping[str, str]:
        """Subnets (CIDR) that a lab must avoid, each with what has it ("route via eth0", "docker network bridge").

        Default routes are none of them (``testbed.topology.host``).
        """
        ...

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        """Make a network. Raises UsageError if the name or the subnet is in use, naming by what."""
        ...

    def create_node(self, placed: PlacedTopology, node: PlacedNode) -> None:
        """Make and start a node that stays idle until something is run in it, joined to its networks."""
        ...

    def connect_paths(self, placed: PlacedTopology, fast: bool) -> Paths:
        """After all nodes: lay the fast path if ``fast`` and possible; route every emulated prefix at the servers."""
        ...

    def run(
        self, lab: str, node: str, command: Sequence[str], timeout_s: float = 30.0, stdin: bytes = b""
    ) -> Completed:
        """Run a command in a node to its end. Raises RuntimeFault if it does not end in time (it is then killed)."""
        ...

    def start(self, lab: str, node: str, command: Sequence[str]) -> Process:
        """Start a program in a node."""
        ...

    def cpu_time_ns(self, lab: str, node: str) -> int:
        """CPU time that all processes of the node have used until now (cgroup), in nanoseconds. Raises RuntimeFault."""
        ...

    def logs(self, lab: str, node: str) -> str:
        """What programs that were started in the node wrote on stderr, each line after the program's title; its end."""
        ...

    def made(self, lab: str | None = None) -> Sequence[Made]:
        """Everything that stands and carries our labels, of one lab or of all."""
        ...

    def remove(self, lab: str, node: str | None = None) -> None:
        """Remove all of a lab: processes, nodes, networks, switch namespace; or one node. Fine if there is nothing."""
        ...


RUNTIMES: Registry[type[Runtime]] = Registry("runtime", "testbed.runtime")
"""Runtimes by name. A class takes no arguments and raises EnvironmentLack when it cannot work here."""
