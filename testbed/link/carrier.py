"""Whether a node's cable carries anything: the other end of its veth, on the network's bridge, taken down and up.

The node keeps its interface, addresses and routes; it sees the carrier go, as when a cable is pulled. (Its own
interface taken down would lose every route through it.) A whole network is taken down by its bridge, which then
forwards nothing; the nodes' carriers stay.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.errors import EnvironmentLack, RuntimeFault
from testbed.link.base import Endpoint
from testbed.link.enter import inside, netlink
from testbed.link.timed import TimedCall

_NEW_LINK, _GET_LINK = 16, 18
_REQUEST, _ACK = 0x1, 0x4
_ERROR = 2
_UP = 0x1
_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=BxHiII")  # linux/rtnetlink.h: struct ifinfomsg


@dataclass(frozen=True)
class Cable:
    """Where an endpoint is plugged in: a namespace, the veth's other end in it, and the bridge that has that end."""

    namespace: str
    port: int
    bridge: int


def cable_of(endpoint: Endpoint) -> Cable:
    """Looked for in the endpoint's ``switches`` (those that are not there are passed over), then in this process's own.

    Raises EnvironmentLack where the node's namespace cannot be entered, RuntimeFault when there is no such veth.
    """
    if endpoint.namespace is None:
        raise EnvironmentLack(
            f"{endpoint.name}: its cable cannot be reached from here, so it cannot go down and up",
            "run testbed as root, on the machine of the nodes",
        )
    own, other = inside(endpoint.namespace, lambda: _ends(endpoint.interface))
    for namespace in (*(path for path in endpoint.switches if Path(path).exists()), "/proc/thread-self/ns/net"):
        bridge = inside(namespace, lambda: _bridge_of(other, own))
        if bridge is not None:
            return Cable(namespace, other, bridge)
    raise RuntimeFault(f"{endpoint.name}: {endpoint.interface} is no veth that ends on a bridge")


class Carrier:
    """An interface of a namespace to be taken down and up: a cable's end, or a bridge."""

    def __init__(self, namespace: str, index: int) -> None:
        self._index = index
        self._socket = inside(namespace, _open)
        self._sequence = 0

    def set(self, up: bool) -> None:
        """Returns when it is so. Raises RuntimeFault with the kernel's reason."""
        self._ask(_NEW_LINK, _ACK, _UP if up else 0, _UP)

    def is_up(self) -> bool:
        """Whether it is up. Raises RuntimeFault when it is gone."""
        answer = self._ask(_GET_LINK, 0, 0, 0)
        return bool(_MESSAGE.unpack_from(answer)[3] & _UP)

    def plan(self, up: bool, at_ns: int) -> TimedCall:
        """The same at a moment."""
        return TimedCall(at_ns, lambda: self.set(up), lambda: None)

    def close(self) -> None:
        """Changes nothing."""
        self._socket.close()

    def _ask(self, kind: int, flags: int, wanted: int, mask: int) -> bytes:
        self._sequence += 1
        payload = _MESSAGE.pack(socket.AF_UNSPEC, 0, self._index, wanted, mask)
        header = _HEADER.pack(_HEADER.size + len(payload), kind, _REQUEST | flags, self._sequence, 0)
        try:
            self._socket.send(header + payload)
            answer = self._socket.recv(1 << 16)
        except OSError as error:
            raise RuntimeFault(f"interface {self._index}: {error.strerror or 'no answer'}") from None
        _, answered, *_ = _HEADER.unpack_from(answer)
        body = answer[_HEADER.size :]
        code = -int(struct.unpack_from("=i", body)[0]) if answered == _ERROR else 0
        if code:
            raise RuntimeFault(f"interface {self._index}: {os.strerror(code)}")
        return body


def _open() -> socket.socket:
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    route.settimeout(5)
    route.bind((0, 0))
    return route


def _ends(interface: str) -> tuple[int, int]:
    """The indices of an interface and of its other end, which is in another namespace."""
    with netlink() as route:
        for link in route.get_links(ifname=interface):
            return int(link["index"]), int(link.get_attr("IFLA_LINK") or 0)
    raise RuntimeFault(f"there is no interface {interface}")


def _bridge_of(port: int, node_end: int) -> int | None:
    """The bridge of a veth end, if the other end is what it must be: an index alone says little."""
    with netlink() as route:
        links: dict[int, Any] = {link["index"]: link for link in route.get_links()}
    link = links.get(port)
    if link is None or link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") != "veth":
        return None
    master = link.get_attr("IFLA_MASTER")
    return int(master) if master and link.get_attr("IFLA_LINK") == node_end else None
