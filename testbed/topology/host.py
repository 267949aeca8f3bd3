"""What the machine itself has taken of the IPv4 address space."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network
from pathlib import Path

_ROUTES = Path("/proc/net/route")


def host_routes() -> dict[str, str]:
    """Every IPv4 route of this machine but the default: subnet → "route via INTERFACE". Empty without /proc."""
    if not _ROUTES.exists():
        return {}
    found = {}
    for line in _ROUTES.read_text().splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask = line.split()[:8]
        subnet = IPv4Network((_address(destination), _address(mask)))
        if subnet.prefixlen > 0:
            found[str(subnet)] = f"route via {interface}"
    return found


def _address(hexadecimal: str) -> str:
    """ "0100A8C0" is 192.168.0.1: the kernel prints the number as this machine's memory holds it."""
    return socket.inet_ntoa(struct.pack("=I", int(hexadecimal, 16)))
