"""The contract of a link backend: what puts a shape onto one direction of one endpoint, and nothing else.

A backend is one file that registers itself. It changes and removes only what it made itself: a qdisc, a rule or an
interface of somebody else is never touched, and stands in the way with its name. What it cannot do exactly it refuses
by name before anything is changed. After ``apply`` the direction is shaped, or an error has been raised: never unshaped
in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from testbed.link.timed import Planned
from testbed.model.shape import Direction, Shape
from testbed.registry import Registry
from testbed.runtime.base import Completed, Process

AUTO = "auto"
"""Instead of a backend's name: ``testbed.link.choose`` picks."""


class Place(Protocol):
    """Where programs run that must be in an endpoint's network namespace (a namespace, or a container beside it)."""

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        """Run a program to its end. Raises RuntimeFault if it does not end in time."""
        ...

    def start(self, command: Sequence[str]) -> Process:
        """Start a program. It outlives this process if nothing ends it."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """One interface of one node.

    ``namespace`` is the path of its network namespace on this machine, None where it cannot be entered from here;
    ``switches`` are those of others in which the far end of its cable may be, beside this process's own.
    ``neighbours`` are the other endpoints of its network: what it sends arrives there, and a backend that works on the
    receiver's side shapes it there. ``visited`` are those of them in whose place anything ever ran: beside the others
    nothing of ours is set (None: it may be beside all). ``emulated_prefix`` holds the addresses of the hosts that its
    packet engine emulates: they send through this interface too. ``own`` is what alone can shape it, where no backend
    of the registry can.
    """

    node: str
    network: str
    interface: str
    address: str
    place: Place = field(compare=False)
    namespace: str | None = None
    switches: tuple[str, ...] = ()
    emulated_prefix: str | None = None
    neighbours: Sequence[Endpoint] = field(default=(), compare=False)
    visited: Sequence[Endpoint] | None = field(default=None, compare=False)
    own: LinkBackend | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.node} on {self.network}"


class LinkBackend(Protocol):
    """See the module's text. ``down`` is what the endpoint receives, ``up`` what it sends."""

    name: str
    preference: int
    """``auto`` asks the backends in this order, the lowest first."""

    slot: str
    """What of a direction it takes for itself: only one of the backends with the same slot can shape a direction."""

    up_on_arrival: bool
    """Whether it shapes ``up`` at the neighbours, where it arrives; else at the endpoint, before it leaves."""

    def part(self, shape: Shape) -> Shape:
        """What of the shape ``auto`` may give it: all, unless it does one thing only."""
        ...

    def lack(self, endpoint: Endpoint, direction: Direction) -> str | None:
        """Why it cannot work there at all, or None. Nothing is changed to find out that shaping would not change."""
        ...

    def refuse(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
        """What of the shape it cannot do exactly there, or what of others' stands in its way, by name; or None.

        For an endpoint at which ``lack`` has found nothing.
        """
        ...

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        """Shape the direction; an earlier shape in its slot is replaced, and nothing passes unshaped meanwhile. Where
        the kernel cannot change it in place, what waits in it is lost.

        Raises UsageError for what it refuses or what stands in the way, RuntimeFault when the kernel fails.
        """
        ...

    def hold(self, endpoint: Endpoint, direction: Direction) -> None:
        """Put in place all that ``plan`` needs, without shaping: what crosses goes on as before. ``remove`` undoes it.

        Raises as ``apply`` does.
        """
        ...

    def plan(self, endpoint: Endpoint, direction: Direction, shape: Shape, at_ns: int) -> Planned:
        """Shape the direction at a moment (CLOCK_MONOTONIC), within a millisecond or so; a shape that touches nothing
        ends shaping. For a direction that is held, and a shape that ``refuse`` does not refuse."""
        ...

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        """What is really set there, as the kernel or the program says; None when this backend has set nothing.

        Raises RuntimeFault when it has set something that does not work any more.
        """
        ...

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        """Remove what this backend made there; fine if there is nothing."""
        ...


BACKENDS: Registry[LinkBackend] = Registry("link backend", "testbed.link")
"""Backends by name."""
