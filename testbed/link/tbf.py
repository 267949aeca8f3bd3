"""tbf: a rate and its queue, by the kernel's token bucket, set from outside the node. It does nothing else.

``up`` is the interface's root qdisc, ``down`` that of an ifb. The queue is a pfifo below it, so that its limit counts
packets as declared. Large packets of segmentation offload are cut by the kernel, so the rate holds for them too.
"""

from __future__ import annotations

import struct

from testbed.errors import UsageError
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.interface import (
    interface_index,
    namespace_of,
    redirect,
    refuse_foreign_root,
    start_redirecting,
    stop_redirecting,
)
from testbed.link.qdisc import ROOT, Qdisc, Qdiscs, attribute, attributes, nanoseconds, ticks
from testbed.model.shape import DEFAULT_LIMIT_PKTS, Direction, Shape

_KIND = "tbf"
_HANDLE = 0x7B0A_0000
_QUEUE_HANDLE = 0x7B0B_0000
_PARAMETERS, _RATE64, _BURST = 1, 4, 6
_ETHERNET = 1
_RATESPEC = struct.Struct("=BBHhHI")
_REST = struct.Struct("=III")  # limit, buffer, mtu
_MAX_RATE32 = 2**32 - 1
_BURST_S = 0.004
"""The default bucket: what the rate sends in four milliseconds, so that a late timer costs no rate …"""

_MIN_BURST_BYTES = 2 * 1514
"""… and never less than two packets."""

_BYTE_LIMIT = 64 * 2**20
"""tbf's own limit is in bytes and must not bind: the pfifo below is the queue."""


class Tbf:
    """See the module's text."""

    name = _KIND

    def lack(self, endpoint: Endpoint) -> str | None:
        """No way into the namespace."""
        if endpoint.namespace is None:
            return "the node's network namespace cannot be entered from here (root on the same machine can)"
        return None

    def refuse(self, shape: Shape) -> str | None:
        """Everything but a rate and its queue."""
        rest = shape.model_copy(update={"rate_bps": None, "burst_bytes": None, "limit_pkts": None})
        if rest.touches:
            return f"{rest.model_copy(update={'seed': None}).text()} (tbf does a rate and its queue only)"
        if shape.rate_bps is None:
            return "a shape without a rate (tbf does a rate and its queue only)"
        return None

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        """Add or change the qdisc; for ``down`` the redirection follows when the qdisc stands."""
        reason = self.lack(endpoint) or self.refuse(shape)
        if reason is not None:
            raise UsageError(f"{endpoint.name}: tbf cannot do this: {reason}")
        index = redirect(endpoint) if direction == "down" else interface_index(endpoint, direction)
        assert index is not None
        with Qdiscs(namespace_of(endpoint)) as qdiscs:
            refuse_foreign_root(endpoint, qdiscs, index, _HANDLE)
            qdiscs.put(index, ROOT, _HANDLE, _KIND, _encode(shape))
            limit = struct.pack("=I", shape.limit_pkts or DEFAULT_LIMIT_PKTS)
            qdiscs.put(index, _HANDLE + 1, _QUEUE_HANDLE, "pfifo", limit)
        if direction == "down":
            start_redirecting(endpoint)

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        """As the kernel reports it. A burst or a limit that nobody chose is not reported."""
        if endpoint.namespace is None:
            return None
        index = interface_index(endpoint, direction)
        if index is None:
            return None
        with Qdiscs(endpoint.namespace) as qdiscs:
            root = _ours(qdiscs, index)
            queue = next((qdisc for qdisc in qdiscs.of(index) if qdisc.handle == _QUEUE_HANDLE), None)
        return None if root is None else _decode(root.options, queue)

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        """Remove our qdisc, and with ``down`` the ifb."""
        if endpoint.namespace is None:
            return
        index = interface_index(endpoint, direction)
        if index is None:
            return
        with Qdiscs(endpoint.namespace) as qdiscs:
            if _ours(qdiscs, index) is None:
                return
            if direction == "up":
                qdiscs.delete(index, ROOT, _HANDLE)
        if direction == "down":
            stop_redirecting(endpoint)


def _ours(qdiscs: Qdiscs, index: int) -> Qdisc | None:
    root = qdiscs.root(index)
    return root if root is not None and root.kind == _KIND and root.handle == _HANDLE else None


def _default_burst(rate_bps: int) -> int:
    return max(_MIN_BURST_BYTES, round(rate_bps / 8 * _BURST_S))


def _encode(shape: Shape) -> bytes:
    assert shape.rate_bps is not None
    rate = shape.rate_bps // 8
    burst = shape.burst_bytes or _default_burst(shape.rate_bps)
    parameters = (
        _RATESPEC.pack(0, _ETHERNET, 0, 0, 0, min(rate, _MAX_RATE32))
        + _RATESPEC.pack(0, 0, 0, 0, 0, 0)
        + _REST.pack(_BYTE_LIMIT, min(ticks(burst * 10**9 // rate), _MAX_RATE32), 0)
    )
    body = attribute(_PARAMETERS, parameters) + attribute(_BURST, struct.pack("=I", burst))
    return body + (attribute(_RATE64, struct.pack("=Q", rate)) if rate > _MAX_RATE32 else b"")


def _decode(options: bytes, queue: Qdisc | None) -> Shape:
    found = dict(attributes(options))
    parameters = found[_PARAMETERS]
    rate = _RATESPEC.unpack_from(parameters)[-1]
    if _RATE64 in found:
        rate = struct.unpack_from("=Q", found[_RATE64])[0]
    _, buffer, _ = _REST.unpack_from(parameters, 2 * _RATESPEC.size)
    burst = nanoseconds(buffer) * rate / 1e9
    default = _default_burst(rate * 8)
    limit = struct.unpack_from("=I", queue.options)[0] if queue is not None else None
    return Shape(
        rate_bps=rate * 8,
        burst_bytes=None if abs(burst - default) <= 64e-9 * rate + 1 else round(burst),
        limit_pkts=None if limit == DEFAULT_LIMIT_PKTS else limit,
    )


BACKENDS.register(_KIND, Tbf())
