"""What the backends that are a qdisc of the kernel have in common: where it goes, and that it is ours.

``up`` is the interface's root qdisc, ``down`` that of an ifb through which everything received is redirected. Each
backend has handles of its own, by which its qdisc is found again: only that one is ever changed or removed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from testbed.errors import RuntimeFault, UsageError
from testbed.link.base import Endpoint
from testbed.link.interface import (
    foreign_words,
    in_the_way,
    interface_index,
    is_foreign,
    is_redirecting,
    namespace_of,
    redirect,
    start_redirecting,
    stop_redirecting,
)
from testbed.link.qdisc import ROOT, Qdisc, Qdiscs
from testbed.link.segments import cut, leave_whole, unreachable
from testbed.link.timed import Planned, TimedCall
from testbed.model.shape import Direction, Shape


class RootQdisc(ABC):
    """A link backend (the contract of ``testbed.link.base``) whose qdisc is called as the backend is."""

    name: str
    preference: int
    slot = "root qdisc"
    up_on_arrival = False
    handles: frozenset[int]
    """Those that its qdisc may have: 7bXX:, no two backends the same."""

    def part(self, shape: Shape) -> Shape:
        """All of it."""
        return shape

    @abstractmethod
    def cannot(self, shape: Shape) -> str | None:
        """What of the shape it cannot do exactly, by name, or None."""

    @abstractmethod
    def handle(self, shape: Shape) -> int:
        """Which of the handles the shape has: one that the kernel's options do not tell apart is told by it."""

    @abstractmethod
    def put(self, qdiscs: Qdiscs, index: int, shape: Shape) -> None:
        """Put the qdisc at that interface's root, or change the one that has the shape's handle."""

    @abstractmethod
    def decode(self, root: Qdisc, others: list[Qdisc]) -> Shape:
        """The shape that the kernel reports. ``others`` are all qdiscs of the interface."""

    def lack(self, endpoint: Endpoint, direction: Direction) -> str | None:
        """No way into the namespace, or to the other end of its cable."""
        if endpoint.namespace is None:
            return "the node's network namespace cannot be entered from here (root on the same machine can)"
        return unreachable(endpoint, direction)

    def refuse(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
        """What it cannot do, or a qdisc of somebody else where its own would go."""
        return self.cannot(shape) or in_the_way(endpoint, direction)

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        """Add or change the qdisc; for ``down`` the redirection follows when the qdisc stands."""
        reason = self.lack(endpoint, direction) or self.refuse(endpoint, direction, shape)
        if reason is not None:
            raise UsageError(f"{endpoint.name}: {self.name} cannot do this: {reason}")
        index = redirect(endpoint) if direction == "down" else interface_index(endpoint, direction)
        assert index is not None
        cut(endpoint, direction)
        with Qdiscs(namespace_of(endpoint)) as qdiscs:
            self._set(endpoint, qdiscs, index, shape)
        if direction == "down":
            start_redirecting(endpoint)

    def hold(self, endpoint: Endpoint, direction: Direction) -> None:
        """The redirection, and a qdisc that does nothing where the kernel has one: a change in it loses nothing."""
        if self._found(endpoint, direction) is not None:
            return
        if self.cannot(Shape()) is None:
            self.apply(endpoint, direction, Shape())
            return
        cut(endpoint, direction)
        if direction == "down":
            redirect(endpoint)
            start_redirecting(endpoint)

    def plan(self, endpoint: Endpoint, direction: Direction, shape: Shape, at_ns: int) -> Planned:
        """Change the qdisc. Where it has to be another one, or none, what waits in it is lost."""
        index = interface_index(endpoint, direction)
        assert index is not None, "held"
        qdiscs = Qdiscs(namespace_of(endpoint))

        def change() -> None:
            root = qdiscs.root(index)
            if shape.touches or self.cannot(shape) is None:
                self._set(endpoint, qdiscs, index, shape)
            elif root is not None and self._is_ours(root):
                qdiscs.delete(index, ROOT, root.handle)

        return TimedCall(at_ns, change, qdiscs.close)

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        """As the kernel reports it; for ``down`` the redirection too."""
        found = self._found(endpoint, direction)
        if found is None:
            return None
        if direction == "down" and not is_redirecting(endpoint):
            raise RuntimeFault(f"{endpoint.name} down: the redirection is gone, so its traffic is not shaped")
        return self.decode(*found)

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        """Remove our qdisc, and with ``down`` the ifb, also where it was only held."""
        if endpoint.namespace is None:
            return
        found = self._found(endpoint, direction)
        if direction == "down":
            if found is not None or self._is_held(endpoint):
                stop_redirecting(endpoint)
        elif found is not None:
            with Qdiscs(endpoint.namespace) as qdiscs:
                qdiscs.delete(found[0].index, ROOT, found[0].handle)
        if not self._is_shaped_by_another(endpoint, direction):
            leave_whole(endpoint, direction)

    def _set(self, endpoint: Endpoint, qdiscs: Qdiscs, index: int, shape: Shape) -> None:
        root = qdiscs.root(index)
        if root is not None and is_foreign(root):
            raise UsageError(f"{endpoint.name}: {foreign_words(endpoint, root)}")
        self.put(qdiscs, index, shape)

    def _is_shaped_by_another(self, endpoint: Endpoint, direction: Direction) -> bool:
        index = interface_index(endpoint, direction)
        if index is None:
            return False
        with Qdiscs(namespace_of(endpoint)) as qdiscs:
            root = qdiscs.root(index)
        return root is not None and root.is_testbeds

    def _is_held(self, endpoint: Endpoint) -> bool:
        """Whether what arrives passes our ifb, and no qdisc of anybody's in it."""
        index = None if endpoint.namespace is None else interface_index(endpoint, "down")
        if index is None:
            return False
        with Qdiscs(namespace_of(endpoint)) as qdiscs:
            root = qdiscs.root(index)
        return root is None or root.is_default

    def _found(self, endpoint: Endpoint, direction: Direction) -> tuple[Qdisc, list[Qdisc]] | None:
        """Our qdisc of that direction beside all of its interface; None if there is none."""
        if endpoint.namespace is None:
            return None
        index = interface_index(endpoint, direction)
        if index is None:
            return None
        with Qdiscs(endpoint.namespace) as qdiscs:
            present = qdiscs.of(index)
        ours = next((qdisc for qdisc in present if self._is_ours(qdisc)), None)
        return None if ours is None else (ours, present)

    def _is_ours(self, qdisc: Qdisc) -> bool:
        return qdisc.parent == ROOT and qdisc.kind == self.name and qdisc.handle in self.handles
