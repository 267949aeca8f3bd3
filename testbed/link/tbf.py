"""tbf: a rate and its queue, by the kernel's token bucket, set from outside the node. It does nothing else.

The queue is a pfifo below it, so that its limit counts packets as declared: those of segmentation offload are cut
before they come here (``testbed.link.segments``).
"""

from __future__ import annotations

import struct

from testbed.link.base import BACKENDS
from testbed.link.qdisc import ROOT, Qdisc, Qdiscs, attribute, attributes, nanoseconds, ticks
from testbed.link.root_qdisc import RootQdisc
from testbed.model.shape import DEFAULT_LIMIT_PKTS, Shape

_KIND = "tbf"
_HANDLE = 0x7B0A_0000
_QUEUE_HANDLE = 0x7B0B_0000
_PARAMETERS, _RATE64, _BURST = 1, 4, 6
_ETHERNET = 1
_RATESPEC = struct.Struct("=BBHhHI")
_REST = struct.Struct("=III")  # limit, buffer, mtu
_RATE_FIELDS = ("rate_bps", "burst_bytes", "limit_pkts")
_MAX_RATE32 = 2**32 - 1
_BURST_S = 0.004
"""The default bucket: what the rate sends in four milliseconds, so that a late timer costs no rate …"""

_MIN_BURST_BYTES = 2 * 1514
"""… and never less than two packets."""

_BYTE_LIMIT = 64 * 2**20
"""tbf's own limit is in bytes and must not bind: the pfifo below is the queue."""


class Tbf(RootQdisc):
    """See the module's text."""

    name = _KIND
    preference = 2
    handles = frozenset({_HANDLE})

    def part(self, shape: Shape) -> Shape:
        """The rate with its queue."""
        return Shape(**{field: getattr(shape, field) for field in _RATE_FIELDS})

    def cannot(self, shape: Shape) -> str | None:
        """Everything but a rate and its queue."""
        rest = shape.model_copy(update=dict.fromkeys(_RATE_FIELDS))
        if rest.touches:
            return f"{rest.model_copy(update={'seed': None}).text()} (tbf does a rate and its queue only)"
        if shape.rate_bps is None:
            return "a shape without a rate (tbf does a rate and its queue only)"
        return None

    def handle(self, shape: Shape) -> int:
        """Always the same."""
        return _HANDLE

    def put(self, qdiscs: Qdiscs, index: int, shape: Shape) -> None:
        """The bucket, and the queue below it."""
        qdiscs.put(index, ROOT, _HANDLE, _KIND, _encode(shape))
        limit = struct.pack("=I", shape.limit_pkts or DEFAULT_LIMIT_PKTS)
        qdiscs.put(index, _HANDLE + 1, _QUEUE_HANDLE, "pfifo", limit)

    def decode(self, root: Qdisc, others: list[Qdisc]) -> Shape:
        """A burst or a limit that nobody chose is not reported."""
        queue = next((qdisc for qdisc in others if qdisc.handle == _QUEUE_HANDLE), None)
        return _decode(root.options, queue)


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
        limit_pkts=limit,
    )


BACKENDS.register(_KIND, Tbf())
