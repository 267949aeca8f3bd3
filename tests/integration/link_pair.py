"""Two network namespaces joined by a veth pair: the smallest world that a link backend can be tried in."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from testbed.engine.lab import Lab
from testbed.errors import ProgramError, RuntimeFault
from testbed.link.base import Endpoint
from testbed.link.engine_links import EmulatedHost, emulated_endpoint
from testbed.link.lab_links import LabLinks
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Completed, Runtime
from testbed.runtime.docker_images import BASE_IMAGE

BUILD = Path(__file__).resolve().parents[2] / "images" / "build"
_numbers = itertools.count()


class NamespaceProcess:
    """A program in a namespace (the runtime's Process contract)."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        self.process = subprocess.Popen(list(command), stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def lines(self, timeout_s: float) -> list[str]:
        found: list[str] = []
        try:
            found.append(self._lines.get(timeout=timeout_s))
            while True:
                found.append(self._lines.get_nowait())
        except Empty:
            return found

    def signal(self, name: str) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.Signals[f"SIG{name}"])

    def tell(self, line: str) -> None:
        raise NotImplementedError("no program of a link is told anything")

    def prefer(self) -> bool:
        raise NotImplementedError("a link's programs raise their priority themselves")

    def wait(self, timeout_s: float) -> int:
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"still running after {timeout_s} s") from None

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


class NamespacePlace:
    """Runs programs in a named namespace; ours come from ``build``."""

    def __init__(self, namespace: str, build: Path = BUILD) -> None:
        self._prefix = ["ip", "netns", "exec", namespace]
        self._build = build
        self.started: list[NamespaceProcess] = []

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        try:
            done = subprocess.run(self._full(command), capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise RuntimeFault(f"{command[0]} still ran after {timeout_s} s") from None
        return Completed(done.returncode, done.stdout, done.stderr)

    def start(self, command: Sequence[str]) -> NamespaceProcess:
        process = NamespaceProcess(self._full(command))
        self.started.append(process)
        return process

    def _full(self, command: Sequence[str]) -> list[str]:
        own = self._build / command[0]
        return [*self._prefix, str(own) if own.exists() else command[0], *command[1:]]


@dataclass(frozen=True)
class Pair:
    """``near`` is the endpoint under test; ``far`` its only neighbour."""

    near: Endpoint
    far: Endpoint


@contextmanager
def pair_of_namespaces(build: Path = BUILD) -> Iterator[Pair]:
    """Make both, and remove both with every process that was started in them."""
    tag = f"tb-{os.getpid()}-{next(_numbers)}"
    names = (f"{tag}-near", f"{tag}-far")
    places = [NamespacePlace(name, build) for name in names]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", name, "link", "set", interface, "up")
        yield _endpoints(names, places)
    finally:
        for process in (process for place in places for process in place.started):
            process.signal("KILL")
            process.wait(10)
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@contextmanager
def pair_of_nodes(lab_name: str, runtime: Runtime) -> Iterator[Pair]:
    """The same as two nodes of a lab: whatever a test does to a link happens in their sidecars."""
    nodes = tuple(
        Node(name=name, role=role, image=BASE_IMAGE, networks=("net0",))
        for name, role in (("near", "server"), ("far", "client"))
    )
    with Lab(Topology(networks=(Network(name="net0"),), nodes=nodes), name=lab_name, runtime=runtime) as lab:
        links = LabLinks(lab.runtime, lab.placed)
        yield Pair(links.endpoint("near"), links.endpoint("far"))


_EMULATED = "10.78.0.0/24"


def emulated_pair(pair: Pair) -> Pair:
    """The same two namespaces with an emulated host of the packet engine in the near one as the endpoint under test."""
    far = pair.far.place
    forward = ["sysctl", "-qw", "net.ipv4.ip_forward=0"]
    route = ["ip", "route", "replace", _EMULATED, "via", pair.near.address]
    for place, command in ((pair.near.place, forward), (far, route)):
        done = place.run(command)
        assert done.status == 0, done.stderr
    host = EmulatedHost(
        address="10.78.0.7",
        prefix=_EMULATED,
        client=pair.near.address,
        server=pair.far.address,
        place=pair.near.place,
        file=f"/tmp/testbed-access-{os.getpid()}",
    )
    near = emulated_endpoint(host, "host", pair.near.network, (pair.far,))
    return Pair(near, pair.far)


def _endpoints(names: tuple[str, str], places: list[NamespacePlace]) -> Pair:
    bare = [
        Endpoint(
            node=node,
            network="net0",
            interface="eth0",
            address=f"10.77.0.{number}",
            place=place,
            namespace=f"/run/netns/{name}",
            switches=tuple(f"/run/netns/{other}" for other in names),
        )
        for number, (node, name, place) in enumerate(zip(("near", "far"), names, places, strict=True), start=1)
    ]
    near = Endpoint(**{**vars(bare[0]), "neighbours": (bare[1],)})
    far = Endpoint(**{**vars(bare[1]), "neighbours": (bare[0],)})
    return Pair(near, far)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
