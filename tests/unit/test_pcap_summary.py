"""Summaries of captures made here, packet by packet."""

from __future__ import annotations

import struct

import pytest

from testbed.errors import RunError
from testbed.link.pcap_summary import summarise
from tests.unit.pcaps import ipv4, pcap, tcp


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
