"""Summaries of captures made here, packet by packet."""

from __future__ import annotations

import struct

import pytest

from testbed.errors import RunError
from testbed.link.pcap_summary import summarise


def pcap(*packets: tuple[float, bytes], original: int | None = None) -> bytes:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for when, packet in packets:
        seconds, microseconds = int(when), round(when % 1 * 1e6)
        data += struct.pack("<IIII", seconds, microseconds, len(packet), original or len(packet)) + packet
    return data


def ipv4(protocol: int, source: int, target: int, transport: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4B4B", 0x45, 0, 20 + len(transport), 0, 0, 64, protocol, 0, 10, 0, 0, source, 10, 0, 0, target
    )
    return bytes(12) + struct.pack("!H", 0x0800) + header + transport


def tcp(source: int, target: int, ports: tuple[int, int], flags: int) -> bytes:
    return ipv4(6, source, target, struct.pack("!HHIIBBHHH", *ports, 0, 0, 0x50, flags, 0, 0, 0))


def test_counts_protocols_flags_and_conversations() -> None:
    data = pcap(
        (1.0, tcp(1, 2, (4000, 80), 0x02)),
        (1.1, tcp(2, 1, (80, 4000), 0x12)),
        (1.5, tcp(1, 2, (4000, 80), 0x14)),
        (2.0, ipv4(17, 1, 2, struct.pack("!HHHH", 53, 53, 8, 0))),
        (2.5, bytes(12) + struct.pack("!H", 0x0806) + bytes(46)),
    )
    summary = summarise(data)
    assert summary.packets == 5
    assert summary.seconds == pytest.approx(1.5)
    assert summary.protocols == {"TCP": 3, "UDP": 1, "ARP": 1}
    assert summary.tcp_flags == {"SYN": 2, "RST": 1}
    assert summary.conversations.most_common(1) == [("10.0.0.1:4000 - 10.0.0.2:80", 3)]


def test_bytes_are_those_on_the_wire_not_those_kept() -> None:
    assert summarise(pcap((1.0, tcp(1, 2, (1, 2), 0)), original=1500)).bytes == 1500


def test_no_packets_and_short_packets() -> None:
    assert summarise(pcap()).packets == 0
    assert summarise(pcap((1.0, b"short"))).protocols == {"other": 1}


def test_what_is_no_capture_is_an_error() -> None:
    with pytest.raises(RunError, match="cannot be read"):
        summarise(b"this is no pcap at all, by far")
