"""Captures made here, packet by packet."""

from __future__ import annotations

import struct


def pcap(*packets: tuple[float, bytes], original: int | None = None, snap: int = 65_535) -> bytes:
    """Of (time in seconds, packet); of each ``snap`` bytes are kept, and ``original`` is told as its length."""
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for when, packet in packets:
        seconds, microseconds = divmod(round(when * 1e6), 1_000_000)
        kept = packet[:snap]
        data += struct.pack("<IIII", seconds, microseconds, len(kept), original or len(packet)) + kept
    return data


def ipv4(protocol: int, source: int, target: int, transport: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4B4B", 0x45, 0, 20 + len(transport), 0, 0, 64, protocol, 0, 10, 0, 0, source, 10, 0, 0, target
    )
    return bytes(12) + struct.pack("!H", 0x0800) + header + transport


def tcp(source: int, target: int, ports: tuple[int, int], flags: int) -> bytes:
    return ipv4(6, source, target, struct.pack("!HHIIBBHHH", *ports, 0, 0, 0x50, flags, 0, 0, 0))
