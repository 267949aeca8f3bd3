"""What passed a server's interface, read from a capture: how long the server took, and how long its client.

A second opinion on what a load generator says of its response times: the kernel stamped these packets, not the tool.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from testbed.errors import RunError
from testbed.link.pcap import ETHERNET_BYTES, packets

SNAP_BYTES = 2048
"""Enough of each packet for the head of a reply, also behind the end of a small one before it."""

_TCP = 6
_IPV4 = b"\x08\x00"
_FIN, _SYN = 0x01, 0x02
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_MS_PER_S = 1e3


@dataclass(frozen=True)
class WireTimes:
    """Means per reply over ``replies``, in ms, from whole connections.

    ``server_ms``: from a request to the last byte of its reply, and a connection's share of from its SYN to the answer.
    ``client_ms``: the client's turns between, with the way there and back: from the SYN's answer to the first request,
    and from the last byte of a reply until the client has noticed. That shows where the client then closes; a reply
    within a session counts as the median of those.
    """

    replies: int
    server_ms: float
    client_ms: float

    @property
    def response_ms(self) -> float:
        """What a client that measures well says: from the connection's start, or the request's, to the reply's end."""
        return self.server_ms + self.client_ms


@dataclass
class _Connection:
    """One client's port. ``waiting`` are the times at which the requests came that have no whole reply yet."""

    syn_s: float
    answered_s: float | None = None
    requested_s: float | None = None
    replied_s: float | None = None
    closed_s: float | None = None
    server_s: float = 0.0
    replies: int = 0
    waiting: deque[float] = field(default_factory=deque)
    request: bytes = b""
    head: bytes = b""
    body_left: int = 0
    cut: bool = False


def wire_times(pcap: bytes, port: int) -> WireTimes:
    """Follow the connections to ``port`` in a capture of the server's interface: HTTP/1.1 without chunks, nothing lost.

    Only connections that the client closed after whole replies count, and of which no reply's head was cut off by the
    capture. Raises RunError for bytes that are no pcap, and for a capture without such a connection.
    """
    connections: dict[bytes, list[_Connection]] = {}
    for when, data, _ in packets(pcap):
        segment = _segment(data, port)
        if segment is not None:
            _follow(connections.setdefault(segment.client, []), when, segment)
    whole = [one for of_client in connections.values() for one in of_client if _is_whole(one)]
    if not whole:
        raise RunError("the capture at the server has no whole connection")
    set_up_s = sum((one.requested_s or 0) - (one.answered_s or 0) for one in whole)
    noticed_s = [(one.closed_s or 0) - (one.replied_s or 0) for one in whole]
    replies = sum(one.replies for one in whole)
    client_s = set_up_s + sum(noticed_s) + median(noticed_s) * (replies - len(whole))
    return WireTimes(
        replies=replies,
        server_ms=sum(one.server_s for one in whole) / replies * _MS_PER_S,
        client_ms=client_s / replies * _MS_PER_S,
    )


def _is_whole(one: _Connection) -> bool:
    seen = None not in (one.answered_s, one.requested_s, one.replied_s, one.closed_s)
    return seen and not one.cut and not one.waiting


@dataclass(frozen=True)
class _Segment:
    """``length`` is that of the payload as it was sent, of which the capture may hold less."""

    client: bytes
    from_client: bool
    flags: int
    payload: bytes
    length: int


def _segment(data: bytes, port: int) -> _Segment | None:
    if len(data) < ETHERNET_BYTES + 20 or data[12:14] != _IPV4 or data[ETHERNET_BYTES + 9] != _TCP:
        return None
    header = ETHERNET_BYTES + (data[ETHERNET_BYTES] & 0x0F) * 4
    if len(data) < header + 20:
        return None
    source, target = struct.unpack_from("!HH", data, header)
    if port not in (source, target):
        return None
    start = header + (data[header + 12] >> 4) * 4
    length = ETHERNET_BYTES + struct.unpack_from("!H", data, ETHERNET_BYTES + 2)[0] - start
    if length < 0:
        return None
    from_client = target == port
    place = ETHERNET_BYTES + (12 if from_client else 16)
    client = data[place : place + 4] + struct.pack("!H", source if from_client else target)
    return _Segment(client, from_client, data[header + 13], data[start : start + length], length)


def _follow(of_client: list[_Connection], when: float, segment: _Segment) -> None:
    if segment.from_client and segment.flags & _SYN:
        of_client.append(_Connection(when))
        return
    if not of_client:
        return
    connection = of_client[-1]
    if segment.from_client:
        _take_requests(connection, when, segment.payload)
        if segment.flags & _FIN and connection.closed_s is None:
            connection.closed_s = when
    elif segment.flags & _SYN:
        connection.answered_s = when
        connection.server_s += when - connection.syn_s
    else:
        _take_replies(connection, when, segment)


def _take_requests(connection: _Connection, when: float, payload: bytes) -> None:
    connection.request += payload
    *whole, connection.request = connection.request.split(_END_OF_HEAD)
    connection.waiting.extend([when] * len(whole))
    if whole and connection.requested_s is None:
        connection.requested_s = when


def _take_replies(connection: _Connection, when: float, segment: _Segment) -> None:
    payload, beyond = segment.payload, segment.length - len(segment.payload)
    while (payload or beyond) and not connection.cut:
        if not connection.body_left:
            connection.head += payload
            head, found, payload = connection.head.partition(_END_OF_HEAD)
            if not found:
                connection.cut = beyond > 0
                return
            connection.head = b""
            length = _LENGTH.search(head)
            connection.body_left = int(length[1]) if length else 0
        taken = min(connection.body_left, len(payload))
        payload, connection.body_left = payload[taken:], connection.body_left - taken
        if not payload:
            taken = min(connection.body_left, beyond)
            beyond, connection.body_left = beyond - taken, connection.body_left - taken
        if not connection.body_left and connection.waiting:
            connection.server_s += when - connection.waiting.popleft()
            connection.replies += 1
            connection.replied_s = when
