"""What the machine itself has taken of the IPv4 address space."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network
from pathlib import Path

_ROUTES = Path("/proc/net/route")
_SHORTEST_PREFIX = 8
"""A route to more than that takes nothing: it is the default route, or one of the halves (0.0.0.0/1 and 128.0.0.0/1)
and greater parts by which a VPN goes before it. What is nearer than they are still goes its own way."""


def host_routes() -> dict[str, str]:
    """Every IPv4 route of this machine but default routes: subnet → "route via INTERFACE". Empty without /proc."""
    if not _ROUTES.exists():
        return {}
    found = {}
    for line in _ROUTES.read_text().splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask = line.split()[:8]
        subnet = IPv4Network((_address(destination), _address(mask)))
        if subnet.prefixlen >= _SHORTEST_PREFIX:
            found[str(subnet)] = f"route via {interface}"
    return found


def _address(hexadecimal: str) -> str:
    """ "0100A8C0" is 192.168.0.1: the kernel prints the number as this machine's memory holds it."""
    return socket.inet_ntoa(struct.pack("=I", int(hexadecimal, 16)))
