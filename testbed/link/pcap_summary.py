"""What is in a pcap, in numbers."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field

from testbed.link.pcap import ETHERNET_BYTES, packets

_IPV4 = 0x0800
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}
_ETHER_TYPES = {0x0806: "ARP", 0x86DD: "IPv6"}
_FLAGS = {0x02: "SYN", 0x01: "FIN", 0x04: "RST"}
_TCP, _UDP = 6, 17


@dataclass
class PcapSummary:
    """Counts of a capture. ``conversations`` are addresses with ports, both directions together."""

    packets: int = 0
    bytes: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    protocols: Counter[str] = field(default_factory=Counter)
    tcp_flags: Counter[str] = field(default_factory=Counter)
    conversations: Counter[str] = field(default_factory=Counter)

    @property
    def seconds(self) -> float:
        """From the first packet to the last."""
        return self.last_s - self.first_s


def summarise(pcap: bytes) -> PcapSummary:
    """Raises RunError for bytes that are no pcap."""
    summary = PcapSummary()
    for when, data, length in packets(pcap):
        _count(summary, data, length, when)
    return summary


def _count(summary: PcapSummary, data: bytes, length: int, when: float) -> None:
    summary.first_s = when if summary.packets == 0 else min(summary.first_s, when)
    summary.last_s = max(summary.last_s, when)
    summary.packets += 1
    summary.bytes += length
    if len(data) < ETHERNET_BYTES + 20:
        summary.protocols["other"] += 1
        return
    ether_type = struct.unpack_from("!H", data, 12)[0]
    if ether_type != _IPV4:
        summary.protocols[_ETHER_TYPES.get(ether_type, "other")] += 1
        return
    protocol = data[ETHERNET_BYTES + 9]
    summary.protocols[_PROTOCOLS.get(protocol, "other IPv4")] += 1
    transport = ETHERNET_BYTES + (data[ETHERNET_BYTES] & 0x0F) * 4
    source, target = (".".join(map(str, data[at : at + 4])) for at in (ETHERNET_BYTES + 12, ETHERNET_BYTES + 16))
    if protocol in (_TCP, _UDP) and len(data) >= transport + 4:
        ports = struct.unpack_from("!HH", data, transport)
        source, target = f"{source}:{ports[0]}", f"{target}:{ports[1]}"
    if protocol == _TCP and len(data) > transport + 13:
        for bit, name in _FLAGS.items():
            if data[transport + 13] & bit:
                summary.tcp_flags[name] += 1
    summary.conversations[" - ".join(sorted((source, target)))] += 1
