"""A scripted TCP peer: the test itself is the server's TCP and sends whatever segments it likes.

It answers for an address that no kernel owns, through a packet socket, so nothing but the script replies.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.native.client_lab import PORT, SCRIPTED, ClientLab

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_MODULO = 1 << 32


class Segment(NamedTuple):
    """A TCP segment, as it arrived."""

    host: str
    port: int
    sequence: int
    acknowledged: int
    flags: int
    window: int
    options: bytes
    payload: bytes
    at: float


def checksum(data: bytes) -> int:
    """RFC 1071."""
    words: tuple[int, ...] = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass
class Connection:
    """The peer's side of one connection. ``sequence`` and ``acknowledged`` are what the next segment carries."""

    peer: ScriptedPeer
    host: str
    port: int
    sequence: int
    acknowledged: int
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.sequence

    def send(
        self,
        payload: bytes = b"",
        flags: int = ACK,
        *,
        at: int | None = None,
        window: int = 65535,
        corrupt: bool = False,
        acknowledged: int | None = None,
        options: bytes = b"",
    ) -> None:
        """One segment. ``at``: offset of its payload in the stream (0 is the first byte); default: the next byte."""
        sequence = self.sequence if at is None else (self.start + at) % _MODULO
        acked = self.acknowledged if acknowledged is None else acknowledged
        self.peer.transmit(self.host, self.port, sequence, acked, flags, payload, window, corrupt, options)
        if at is None:
            self.sequence = (sequence + len(payload) + bool(flags & (FIN | SYN))) % _MODULO

    def receive(self, timeout_s: float = 3.0) -> Segment:
        """The next segment of this connection."""
        return self.peer.receive(timeout_s, self.host, self.port)

    def silence(self, for_s: float) -> None:
        """Nothing may come for this long."""
        try:
            segment = self.receive(for_s)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {segment}")

    def take(self, segment: Segment) -> None:
        """Acknowledge it from now on."""
        extent = len(segment.payload) + bool(segment.flags & (FIN | SYN))
        self.acknowledged = (segment.sequence + extent) % _MODULO


class ScriptedPeer:
    """The packet socket in the server's namespace. Use as a context manager."""

    def __init__(self, lab: ClientLab) -> None:
        def make() -> tuple[socket.socket, bytes]:
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            raw.bind(("s0", 0x0800))
            mac: bytes = raw.getsockname()[4]
            return raw, mac

        self.socket, self.mac = lab.inside(lab.server_space, make)
        self.client_mac = b""
        self.flags = ("--gateway-mac", ":".join(f"{byte:02x}" for byte in self.mac))
        self._waiting: list[Segment] = []

    def __enter__(self) -> ScriptedPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def transmit(
        self, host: str, port: int, sequence: int, acknowledged: int, flags: int, payload: bytes, window: int,
        corrupt: bool = False, options: bytes = b"",
    ) -> None:  # fmt: skip
        """Build and send one frame."""
        offset = (20 + len(options)) // 4 << 4
        tcp = (
            struct.pack("!HHIIBBHHH", PORT, port, sequence, acknowledged, offset, flags, window, 0, 0)
            + options
            + payload
        )
        ends = socket.inet_aton(SCRIPTED) + socket.inet_aton(host)
        total = checksum(ends + struct.pack("!HH", 6, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
        if corrupt:
            tcp = tcp[:-1] + bytes([tcp[-1] ^ 0x40])
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + ends
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        self.socket.send(self.client_mac + self.mac + b"\x08\x00" + ip + tcp)

    def receive(self, timeout_s: float, host: str | None = None, port: int | None = None) -> Segment:
        """The next segment for us (of one connection, if named); TimeoutError when none comes."""
        deadline = time.monotonic() + timeout_s
        for index, segment in enumerate(self._waiting):
            if port is None or (segment.host, segment.port) == (host, port):
                return self._waiting.pop(index)
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            segment_or_none = self._parse(self.socket.recv(65536))
            if segment_or_none is None:
                continue
            if port is None or (segment_or_none.host, segment_or_none.port) == (host, port):
                return segment_or_none
            self._waiting.append(segment_or_none)
        raise TimeoutError

    def _parse(self, frame: bytes) -> Segment | None:
        ip = frame[14:]
        if len(ip) < 40 or ip[9] != 6 or ip[16:20] != socket.inet_aton(SCRIPTED):
            return None
        self.client_mac = frame[6:12]
        length = int.from_bytes(ip[2:4], "big")
        tcp = ip[20:length]
        assert checksum(ip[:20]) == 0, "bad IP checksum"
        assert checksum(ip[12:20] + struct.pack("!HH", 6, len(tcp)) + tcp) == 0, "bad TCP checksum"
        _, _, sequence, acknowledged, offset, flags, window = _header(tcp)
        start = (offset >> 4) * 4
        host, port = socket.inet_ntoa(ip[12:16]), int.from_bytes(tcp[:2], "big")
        return Segment(host, port, sequence, acknowledged, flags, window, tcp[20:start], tcp[start:], time.monotonic())

    def expect_syn(self, timeout_s: float = 5.0) -> tuple[Connection, Segment]:
        """The next connection that starts, not yet answered."""
        while True:
            segment = self.receive(timeout_s)
            if segment.flags == SYN:
                acknowledged = (segment.sequence + 1) % _MODULO
                return Connection(self, segment.host, segment.port, 0xFFFFFF00, acknowledged), segment

    def accept(self, options: bytes = b"", window: int = 65535) -> tuple[Connection, Segment]:
        """Complete a handshake; the connection, and the segment that completed it (with the request, mostly)."""
        connection, _ = self.expect_syn()
        connection.send(flags=SYN | ACK, options=options, window=window)
        connection.start = connection.sequence
        first = connection.receive()
        assert first.flags & ACK
        assert first.acknowledged == connection.sequence
        connection.take(first)
        return connection, first


def _header(tcp: bytes) -> tuple[int, int, int, int, int, int, int]:
    fields: tuple[int, int, int, int, int, int, int] = struct.unpack("!HHIIBBH", tcp[:16])
    return fields
