"""The packet engine's own links: the file that says which emulated host has which, and a host's link under probes.

An emulated host lives inside the engine, so no backend of the registry reaches it, and linkprobe cannot run on it.
``emulated_endpoint`` makes it an endpoint all the same: hostprobe stands in for linkprobe, with the engine's own
packet socket and links, and an ``EngineLink`` shapes it. What then shapes and measures other links does it here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed.errors import ProgramError, RuntimeFault, UsageError
from testbed.link.base import Endpoint, Place
from testbed.link.program_words import read_shape, shape_words
from testbed.link.timed import Planned
from testbed.model.access import AccessLink
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape
from testbed.runtime.base import Completed, Process

BACKEND = "engine"
_SEED = 1
"""Of every kind of link: the engine gives each host a seed of its own, made of this, the host and ``--links-seed``."""


def links_file(links: Sequence[AccessLink]) -> str:
    """What ``--links`` reads."""
    return "".join(f"{link.share:.12g} {_words(link.shape)}\n" for link in links)


def _words(shape: LinkShape) -> str:
    parts = []
    for direction in DIRECTIONS:
        words = shape_words(shape.toward(direction), _SEED)
        parts.append(" ".join([direction, *(f"{word} {value}" for word, value in words.items())]))
    return " ".join(parts)


@dataclass(frozen=True)
class EmulatedHost:
    """One emulated host: its address, the prefix that it is one of, and the way to the server.

    ``place`` is where programs run in its client's network; ``file`` is a path there for its link.
    """

    address: str
    prefix: str
    client: str
    server: str
    place: Place = field(compare=False)
    file: str = "/tmp/testbed-access-link"

    def hostprobe(self, *flags: str) -> list[str]:
        """The command with what it always needs."""
        way = ["--host", self.address, "--hosts", self.prefix, "--target", self.server]
        return ["hostprobe", *way, "--interface", f"address:{self.client}", *flags]


class HostPlace:
    """A ``Place`` in which linkprobe is an emulated host's; over loopback it is the client's own, as elsewhere."""

    def __init__(self, host: EmulatedHost) -> None:
        self._host = host

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        """Run a program to its end."""
        return self._host.place.run(self._translated(command), timeout_s)

    def start(self, command: Sequence[str]) -> Process:
        """Start a program."""
        return self._host.place.start(self._translated(command))

    def _translated(self, command: Sequence[str]) -> list[str]:
        at = command.index("--address") if command[0] == "linkprobe" and "--address" in command else 0
        if not at or command[at + 1].startswith("127."):
            return list(command)
        rest = [*command[1:at], *command[at + 2 :]]
        return self._host.hostprobe("--links", self._host.file, *rest)


class EngineLink:
    """The link backend of one emulated host: a file that the engine reads when it starts."""

    name = BACKEND
    preference = 0
    slot = BACKEND
    up_on_arrival = False

    def __init__(self, host: EmulatedHost) -> None:
        self._host = host
        self._shape = LinkShape()

    def lack(self, endpoint: Endpoint, direction: Direction) -> str | None:
        """hostprobe missing in the place."""
        try:
            done = self._host.place.run(["hostprobe", "--help"])
        except RuntimeFault as error:
            return str(error)
        return None if done.status == 0 else f"hostprobe: {done.stderr.strip()[:200]}"

    def part(self, shape: Shape) -> Shape:
        """All of it."""
        return shape

    def refuse(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
        """Nothing: it decides as linkem does."""
        return None

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        """Write the file: what starts from now on has that link."""
        self._shape = self._shape.model_copy(update={direction: shape})
        text = links_file([AccessLink(name=endpoint.name, share=1, shape=self._shape)])
        done = self._host.place.run(["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, self._host.file])
        if done.status != 0:
            raise RuntimeFault(f"{endpoint.name}: {self._host.file}: {done.stderr.strip()[:200]}")

    def hold(self, endpoint: Endpoint, direction: Direction) -> None:
        """Raises UsageError: a timeline cannot have it."""
        raise UsageError(f"{endpoint.name}: the engine's own links do not change while it runs")

    def plan(self, endpoint: Endpoint, direction: Direction, shape: Shape, at_ns: int) -> Planned:
        """Raises UsageError: a timeline cannot have it."""
        raise UsageError(f"{endpoint.name}: the engine's own links do not change while it runs")

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        """As the engine understood the file."""
        done = self._host.place.run(self._host.hostprobe("--show", "--links", self._host.file))
        if done.status != 0:
            raise ProgramError(f"{endpoint.name}: hostprobe: {(done.stderr or done.stdout).strip()[:300]}")
        ready: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        shape = read_shape(ready[direction], _SEED)
        return shape if shape.touches else None

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        """Write a file without the direction."""
        self.apply(endpoint, direction, Shape())


def emulated_endpoint(host: EmulatedHost, name: str, network: str, neighbours: tuple[Endpoint, ...]) -> Endpoint:
    """The host as an endpoint; ``name`` is how messages and reports call it."""
    return Endpoint(
        node=name,
        network=network,
        interface="",
        address=host.address,
        place=HostPlace(host),
        neighbours=neighbours,
        own=EngineLink(host),
    )
