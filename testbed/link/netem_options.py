"""A Shape as the bytes that the netem qdisc takes, and back (``linux/pkt_sched.h``)."""

from __future__ import annotations

import math
import struct
from functools import cache

from testbed.link.qdisc import attribute, attributes, nanoseconds, ticks
from testbed.model.shape import DEFAULT_LIMIT_PKTS, Distribution, GilbertElliott, Shape, jitter_quantile

_QOPT = struct.Struct("=IIIIII")  # latency, limit, loss, gap, duplicate, jitter
_CORRELATION, _DISTRIBUTION, _REORDER, _CORRUPT, _LOSS, _RATE = 1, 2, 3, 4, 5, 6
_RATE64, _LATENCY64, _JITTER64, _SEED = 8, 10, 11, 14
_GILBERT_ELLIOTT = 2
_WHOLE = 2**32 - 1
_TABLE_SIZE = 4096
_TABLE_SCALE = 8192
_FULL_PACKET_BITS = 1514 * 8
_SMALL_PACKET_BITS = 64 * 8
_UNLIMITED_PKTS = 500_000
"""Without a rate nothing should wait, only travel: enough for a million packets a second at half a second."""


def encode(shape: Shape) -> bytes:
    """The options of a netem qdisc that does the shape."""
    rate = shape.rate_bps or 0
    body = _QOPT.pack(
        min(ticks(shape.delay_us * 1000), _WHOLE),
        queue_limit(shape),
        _share(shape.loss_percent),
        1 if shape.reorder_percent else 0,
        _share(shape.duplicate_percent),
        min(ticks(shape.jitter_us * 1000), _WHOLE),
    )
    body += attribute(_LATENCY64, struct.pack("=q", shape.delay_us * 1000))
    body += attribute(_JITTER64, struct.pack("=q", shape.jitter_us * 1000))
    body += attribute(_CORRELATION, struct.pack("=III", 0, 0, 0))
    body += attribute(_REORDER, struct.pack("=II", _share(shape.reorder_percent), 0))
    body += attribute(_CORRUPT, struct.pack("=II", _share(shape.corrupt_percent), 0))
    if shape.gemodel:
        body += attribute(_LOSS, attribute(_GILBERT_ELLIOTT, _gemodel(shape.gemodel)))
    if shape.jitter_us and shape.distribution != "uniform":
        body += attribute(_DISTRIBUTION, distribution_table(shape.distribution))
    body += attribute(_RATE, struct.pack("=IiIi", min(rate // 8, _WHOLE), 0, 0, 0))
    if rate // 8 > _WHOLE:
        body += attribute(_RATE64, struct.pack("=Q", rate // 8))
    if shape.seed is not None:
        body += attribute(_SEED, struct.pack("=Q", shape.seed))
    return body


def decode(options: bytes, distribution: Distribution, *, seeded: bool, limited: bool) -> Shape:
    """The shape that a netem qdisc reports. It does not report its table, so ``distribution`` is the caller's
    knowledge; nor, usefully, a seed (``seeded``) or a limit (``limited``) that nobody set."""
    latency, limit, loss, _, duplicate, jitter = _QOPT.unpack_from(options)
    found = dict(attributes(options[_QOPT.size :]))
    delay_ns = _number(found, _LATENCY64, "=q", nanoseconds(latency))
    jitter_ns = _number(found, _JITTER64, "=q", nanoseconds(jitter))
    rate = _number(found, _RATE64, "=Q", _number(found, _RATE, "=I", 0)) * 8
    gemodel = dict(attributes(found.get(_LOSS, b""))).get(_GILBERT_ELLIOTT)
    shape = Shape(
        delay_us=round(delay_ns / 1000),
        jitter_us=round(jitter_ns / 1000),
        distribution=distribution if jitter_ns else "uniform",
        loss_percent=0.0 if gemodel else _percent(loss),
        gemodel=_read_gemodel(gemodel) if gemodel else None,
        duplicate_percent=_percent(duplicate),
        reorder_percent=_percent(_number(found, _REORDER, "=I", 0)),
        corrupt_percent=_percent(_number(found, _CORRUPT, "=I", 0)),
        rate_bps=rate or None,
        seed=_number(found, _SEED, "=Q", 0) if seeded and _SEED in found else None,
    )
    if not limited:
        return shape
    waiting = limit - _in_flight_pkts(shape, _FULL_PACKET_BITS)
    return Shape.model_validate(dict(shape) | {"limit_pkts": waiting})


def queue_limit(shape: Shape) -> int:
    """netem's limit counts packets that wait and packets that travel, in one queue.

    A declared limit gets room for full packets in flight on top; without one there is room for small ones, so that
    travelling alone never drops any.
    """
    if not shape.rate_bps:
        return _UNLIMITED_PKTS
    if shape.limit_pkts is None:
        return DEFAULT_LIMIT_PKTS + _in_flight_pkts(shape, _SMALL_PACKET_BITS)
    return shape.limit_pkts + _in_flight_pkts(shape, _FULL_PACKET_BITS)


@cache
def distribution_table(distribution: Distribution) -> bytes:
    """Quantiles in units of jitter times 8192, at equal steps of probability: what netem draws from."""
    values = (jitter_quantile(distribution, (step + 0.5) / _TABLE_SIZE) for step in range(_TABLE_SIZE))
    return struct.pack(f"={_TABLE_SIZE}h", *(max(-32768, min(32767, round(v * _TABLE_SCALE))) for v in values))


def _in_flight_pkts(shape: Shape, packet_bits: int) -> int:
    return math.ceil((shape.rate_bps or 0) * shape.longest_us / 1e6 / packet_bits)


def _share(percent: float) -> int:
    return round(percent / 100 * _WHOLE)


def _percent(share: int) -> float:
    return round(share / _WHOLE * 100, 6)


def _gemodel(model: GilbertElliott) -> bytes:
    """The kernel wants h where people write 1-h."""
    return struct.pack(
        "=IIII",
        _share(model.p_percent),
        _share(model.r_percent),
        _share(100 - model.bad_loss_percent),
        _share(model.good_loss_percent),
    )


def _read_gemodel(payload: bytes) -> GilbertElliott:
    p, r, h, good = struct.unpack_from("=IIII", payload)
    return GilbertElliott(
        p_percent=_percent(p),
        r_percent=_percent(r),
        bad_loss_percent=round(100 - _percent(h), 6),
        good_loss_percent=_percent(good),
    )


def _number(found: dict[int, bytes], kind: int, layout: str, default: int) -> int:
    return int(struct.unpack_from(layout, found[kind])[0]) if kind in found else default
