"""netem: the kernel's own emulator, set from outside the node through route netlink.

``up`` is the interface's root qdisc, ``down`` that of an ifb through which everything received is redirected. The
qdisc has a handle of ours, by which it is found again.
"""

from __future__ import annotations

import os
import platform

from testbed.errors import RuntimeFault, TestbedError, UsageError
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.interface import (
    interface_index,
    namespace_of,
    redirect,
    refuse_foreign_root,
    start_redirecting,
    stop_redirecting,
)
from testbed.link.netem_options import decode, encode
from testbed.link.qdisc import ROOT, Qdisc, Qdiscs
from testbed.link.scratch import scratch_namespace
from testbed.model.shape import Direction, Distribution, Shape

_KIND = "netem"
_HANDLES: dict[Distribution, int] = {"uniform": 0x7B01_0000, "normal": 0x7B02_0000, "pareto": 0x7B03_0000}
"""netem does not report its table of jitter, so the handle says which one was given."""

_SEEDED = 0x0010_0000
"""Added to the handle where a seed was asked for: without one netem reports the seed it chose itself."""

_SEED_SINCE = (6, 6)


class Netem:
    """See the module's text."""

    name = _KIND

    def lack(self, endpoint: Endpoint) -> str | None:
        """No way into the namespace, or no netem in the kernel."""
        if endpoint.namespace is None:
            return "the node's network namespace cannot be entered from here (root on the same machine can)"
        return kernel_lack()

    def refuse(self, shape: Shape) -> str | None:
        """What netem does otherwise than declared."""
        if shape.correlation_percent:
            return "correlation (netem takes its draws modulo the jitter, which undoes it)"
        if shape.burst_bytes:
            return "burst (netem spaces every packet)"
        if shape.seed is not None and not _takes_seeds():
            return f"seed (netem has one since Linux 6.6, this is {platform.release()})"
        return None

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        """Add or change the qdisc; for ``down`` the redirection follows when the qdisc stands."""
        reason = self.lack(endpoint) or self.refuse(shape)
        if reason is not None:
            raise UsageError(f"{endpoint.name}: netem cannot do this: {reason}")
        index = redirect(endpoint) if direction == "down" else interface_index(endpoint, direction)
        assert index is not None
        handle = _HANDLES[shape.distribution] + (_SEEDED if shape.seed is not None else 0)
        with Qdiscs(namespace_of(endpoint)) as qdiscs:
            ours = _ours(qdiscs, index)
            refuse_foreign_root(endpoint, qdiscs, index, ours.handle if ours else handle)
            if ours is not None and ours.handle != handle:
                qdiscs.delete(index, ROOT, ours.handle)
            qdiscs.put(index, ROOT, handle, _KIND, encode(shape))
        if direction == "down":
            start_redirecting(endpoint)

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        """As the kernel reports it."""
        if endpoint.namespace is None:
            return None
        index = interface_index(endpoint, direction)
        if index is None:
            return None
        with Qdiscs(endpoint.namespace) as qdiscs:
            ours = _ours(qdiscs, index)
        if ours is None:
            return None
        distribution = next(name for name, handle in _HANDLES.items() if handle == ours.handle & ~_SEEDED)
        return decode(ours.options, distribution, seeded=bool(ours.handle & _SEEDED))

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        """Remove our qdisc, and with ``down`` the ifb."""
        if endpoint.namespace is None:
            return
        index = interface_index(endpoint, direction)
        if index is None:
            return
        with Qdiscs(endpoint.namespace) as qdiscs:
            ours = _ours(qdiscs, index)
            if ours is None:
                return
            if direction == "up":
                qdiscs.delete(index, ROOT, ours.handle)
        if direction == "down":
            stop_redirecting(endpoint)


def kernel_lack() -> str | None:
    """Why this kernel cannot run netem, or None; tried on a throw-away interface."""
    try:
        with scratch_namespace() as (namespace, index), Qdiscs(namespace) as qdiscs:
            qdiscs.put(index, ROOT, _HANDLES["uniform"], _KIND, encode(Shape(delay_us=1000)))
    except TestbedError as error:
        if "kind is unknown" in str(error):
            return "the kernel has no netem (Specified qdisc kind is unknown)"
        return f"the kernel's netem does not work here: {error}"
    return None


def _ours(qdiscs: Qdiscs, index: int) -> Qdisc | None:
    root = qdiscs.root(index)
    if root is None or root.kind != _KIND or root.handle & ~_SEEDED not in _HANDLES.values():
        return None
    return root


def _takes_seeds() -> bool:
    release = platform.release().split(".")
    try:
        return (int(release[0]), int(release[1])) >= _SEED_SINCE
    except (ValueError, IndexError):
        raise RuntimeFault(f"kernel release {platform.release()!r} of {os.uname().nodename} is not a version") from None


BACKENDS.register(_KIND, Netem())
