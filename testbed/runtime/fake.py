"""A runtime that makes nothing: a world in memory, for tests of everything above the runtimes, without an engine.

It refuses what a real one refuses (a name or a subnet in use, a node that is not there), and a test says what its
programs print and which operations fail.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from threading import Lock
from typing import ClassVar

from testbed.errors import ProgramError, RuntimeFault, UsageError
from testbed.model.placed import PlacedNetwork, PlacedNode, PlacedTopology
from testbed.runtime.base import IMAGE_ID_LABEL, IMAGE_LABEL, RUNTIMES, Completed, Made, Paths, Process
from testbed.runtime.node_files import UNPACK

_ENDLESS = 100_000
"""Lines after which a program that should end is taken for one that does not."""


@dataclass
class Call:
    """A program as it runs: what it was started with, and what it was sent. It may set ``status`` and ``stderr``."""

    lab: str
    node: str
    command: tuple[str, ...]
    stdin: bytes = b""
    signals: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    preferred: bool = False
    status: int = 0
    stderr: str = ""


Script = Callable[[Call], Iterator[str]]
"""A program: yields the lines that it prints, one at each look of the reader, and ends when it returns."""


@dataclass
class _Node:
    placed: PlacedNode
    files: dict[str, bytes] = field(default_factory=dict)
    started: list[Call] = field(default_factory=list)
    cpu_time_ns: int = 0


class FakeProcess:
    """A script under way. It moves on only when it is looked at."""

    def __init__(self, script: Script, call: Call) -> None:
        self.call = call
        self._steps = script(call)
        self._unread: list[str] = []
        self._stepping = Lock()
        self._ended = False

    def lines(self, timeout_s: float) -> list[str]:
        """The lines that a wait left, else the next one; [] when the script has ended."""
        if not self._unread:
            self._step()
        taken, self._unread = self._unread, []
        return taken

    def signal(self, name: str) -> None:
        """Noted for the script to see; KILL ends it at once."""
        if self._ended:
            return
        self.call.signals.append(name)
        if name == "KILL":
            self._ended = True
            self.call.status = 137

    def tell(self, line: str) -> None:
        """Noted for the script to see."""
        self.call.told.append(line)

    def prefer(self) -> bool:
        """Noted for a test to see."""
        self.call.preferred = True
        return True

    def wait(self, timeout_s: float) -> int:
        """Let the script go on to its end. A wait of 0 only asks."""
        if timeout_s <= 0 and not self._ended:
            self._step()
        steps = 0
        while timeout_s > 0 and not self._ended:
            self._step()
            steps += 1
            if steps > _ENDLESS:
                break
        if not self._ended:
            raise ProgramError(f"{self.call.command[0]} on {self.call.node} still runs after {timeout_s:g} s")
        return self.call.status

    def stderr(self) -> str:
        """What the script has put there."""
        return self.call.stderr

    def _step(self) -> None:
        with self._stepping:  # who ends it may be another thread than who reads it
            if self._ended:
                return
            try:
                self._unread.append(next(self._steps))
            except StopIteration:
                self._ended = True


class FakeRuntime:
    """See the module's text.

    ``programs``: argv[0] → script. ``taken``: subnets that the machine has. ``failures``: (method, name of the node or
    network) → the error that it raises. ``images``: node → (tag, digest) of the image that it was made from, as far as
    there is one. ``calls``: every method call in order, as (method, name).
    """

    name = "fake"
    preference: ClassVar[int | None] = None  # it measures nothing
    has_images: ClassVar[bool] = True

    def __init__(self, programs: Mapping[str, Script] | None = None, cpus: int = 2) -> None:
        self.programs: dict[str, Script] = dict(programs or {})
        self.taken: dict[str, str] = {"192.0.2.0/24": "route via eth0"}
        self.failures: dict[tuple[str, str], BaseException] = {}
        self.images: dict[str, tuple[str, str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.cpus = cpus
        self._networks: dict[tuple[str, str], PlacedNetwork] = {}
        self._nodes: dict[tuple[str, str], _Node] = {}
        self._lock = Lock()

    def prepare_programs(self, progress: Callable[[str], None]) -> None:
        """Its programs are scripts."""
        self._note("prepare_programs", "")
        progress("nothing to build")

    def describe(self) -> Mapping[str, str]:
        """The CPUs that a test gave."""
        return {"engine": "none", "cpus": str(self.cpus)}

    def taken_subnets(self) -> Mapping[str, str]:
        """What a test put in ``taken``, and the networks of all labs."""
        self._note("taken_subnets", "")
        ours = {network.subnet: f"network {name} of lab {lab}" for (lab, name), network in self._networks.items()}
        return {**self.taken, **ours}

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        """Refuses a name or a subnet in use."""
        self._note("create_network", network.name)
        if (lab, network.name) in self._networks:
            raise UsageError(f"network {network.name!r} of lab {lab!r} is there already")
        for subnet, owner in self.taken_subnets().items():
            if IPv4Network(subnet).overlaps(IPv4Network(network.subnet)):
                raise UsageError(f"subnet {network.subnet} of network {network.name!r} is in use: {subnet} ({owner})")
        self._networks[lab, network.name] = network

    def create_node(self, placed: PlacedTopology, node: PlacedNode) -> None:
        """Refuses a name in use and a network that was not made."""
        self._note("create_node", node.name)
        with self._lock:
            if (placed.lab, node.name) in self._nodes:
                raise UsageError(f"node {node.name!r} of lab {placed.lab!r} is there already")
            for network in node.addresses:
                if (placed.lab, network) not in self._networks:
                    raise RuntimeFault(f"there is no network {network!r} in lab {placed.lab!r}")
            self._nodes[placed.lab, node.name] = _Node(node)

    def connect_paths(self, placed: PlacedTopology, fast: bool) -> Paths:
        """Nothing to lay."""
        self._note("connect_paths", placed.lab)
        return Paths(False, False, "the fake runtime has no frames" if fast else "switched off")

    def run(
        self, lab: str, node: str, command: Sequence[str], timeout_s: float = 30.0, stdin: bytes = b""
    ) -> Completed:
        """Run the script of the program to its end; 127 for a program without one, as a shell says.

        An archive to unpack is unpacked, and ``files`` reads it back.
        """
        self._note("run", node)
        there = self._node(lab, node)
        if tuple(command[:-1]) == UNPACK:
            there.files.update(_unpacked(command[-1], stdin))
            return Completed(0, "", "")
        script = self.programs.get(command[0])
        if script is None:
            return Completed(127, "", f"{command[0]}: not found")
        process = FakeProcess(script, Call(lab, node, tuple(command), stdin))
        try:
            status = process.wait(timeout_s)
        except ProgramError as error:
            raise RuntimeFault(str(error)) from None
        return Completed(status, "".join(f"{line}\n" for line in process.lines(0)), process.stderr())

    def start(self, lab: str, node: str, command: Sequence[str]) -> Process:
        """Start the script of the program. Raises RuntimeFault for a program without one."""
        self._note("start", node)
        self._node(lab, node)
        if command[0] not in self.programs:
            raise RuntimeFault(f"{command[0]}: not found on {node}")
        call = Call(lab, node, tuple(command))
        self._node(lab, node).started.append(call)
        return FakeProcess(self.programs[command[0]], call)

    def files(self, lab: str, node: str) -> Mapping[str, bytes]:
        """What was put into a node, by full path."""
        return dict(self._node(lab, node).files)

    def cpu_time_ns(self, lab: str, node: str) -> int:
        """A millisecond more at each look."""
        entry = self._node(lab, node)
        entry.cpu_time_ns += 1_000_000
        return entry.cpu_time_ns

    def logs(self, lab: str, node: str) -> str:
        """What the scripts of started programs have put on their stderr."""
        started = self._node(lab, node).started
        return "".join(
            f"{call.command[0]} on {node}: {line}\n" for call in started for line in call.stderr.splitlines()
        )

    def made(self, lab: str | None = None) -> Sequence[Made]:
        """Networks, then nodes."""
        self._note("made", lab or "")
        things = [
            Made(of, "network", name, "made", {}, {"testbed.lab": of})
            for of, name in self._networks
            if lab in (None, of)
        ]
        things += [
            Made(of, "node", name, "running", dict(node.placed.addresses), self._labels(of, name))
            for (of, name), node in self._nodes.items()
            if lab in (None, of)
        ]
        return things

    def remove(self, lab: str, node: str | None = None) -> None:
        """Forget all of a lab, or one node."""
        self._note("remove", lab if node is None else node)
        if node is not None:
            self._nodes.pop((lab, node), None)
            return
        self._nodes = {key: node for key, node in self._nodes.items() if key[0] != lab}
        self._networks = {key: network for key, network in self._networks.items() if key[0] != lab}

    def _labels(self, lab: str, node: str) -> dict[str, str]:
        image = dict(zip((IMAGE_LABEL, IMAGE_ID_LABEL), self.images.get(node, ()), strict=False))
        return {"testbed.lab": lab, **image}

    def _note(self, method: str, name: str) -> None:
        self.calls.append((method, name))
        error = self.failures.get((method, name))
        if error is not None:
            raise error

    def _node(self, lab: str, node: str) -> _Node:
        if (lab, node) not in self._nodes:
            raise RuntimeFault(f"lab {lab!r} has no node {node!r}")
        return self._nodes[lab, node]


def _unpacked(folder: str, archive: bytes) -> dict[str, bytes]:
    """The archive's files by their full paths."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        contents = ((member.name, tar.extractfile(member)) for member in tar.getmembers())
        return {f"{folder.rstrip('/')}/{name}": content.read() for name, content in contents if content}


RUNTIMES.register("fake", FakeRuntime)
