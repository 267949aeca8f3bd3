"""Packets, not super-packets, before a qdisc that decides for each: what segmentation offload left whole is cut first.

Kernel TCP hands up to 64 KiB at once to the interface, and a veth, a bridge and an ifb pass it on as one: netem would
lose, delay and count it as one packet. An interface that takes one segment at a time (``gso_max_segs``) makes TCP send
packets, and cuts what comes through it otherwise. For ``up`` that is the node's interface; for ``down`` it is the other
end of its cable. The size beside it, which has no effect then, is the mark that it was us.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.errors import RuntimeFault, UsageError
from testbed.link.base import Endpoint
from testbed.link.enter import inside, netlink
from testbed.model.shape import Direction

_CUT = {"gso_max_segs": 1, "gso_max_size": 0x7B00}
_WHOLE = {"gso_max_segs": 65_535, "gso_max_size": 65_536}
"""What the kernel gives a new veth."""

_OWN = "/proc/thread-self/ns/net"


def unreachable(endpoint: Endpoint, direction: Direction) -> str | None:
    """Why what crosses cannot be cut, or None. Raises UsageError where there is no such interface."""
    if endpoint.namespace and inside(endpoint.namespace, lambda: _ends(endpoint.interface)) is None:
        raise UsageError(f"{endpoint.name}: there is no interface {endpoint.interface}")
    if _place(endpoint, direction) is None:
        return f"{endpoint.interface} is no veth of which the other end can be reached, so large packets cannot be cut"
    return None


def cut(endpoint: Endpoint, direction: Direction) -> None:
    """From now on nothing larger than a packet crosses. Connections that stand may send larger ones ``up``."""
    place = _place(endpoint, direction)
    if place is None:
        raise RuntimeFault(f"{endpoint.name} {direction}: {unreachable(endpoint, direction)}")
    namespace, index = place
    inside(namespace, lambda: _set(index, _CUT))


def leave_whole(endpoint: Endpoint, direction: Direction) -> None:
    """Undo ``cut``; fine if nothing was cut."""
    place = _place(endpoint, direction)
    if place is not None:
        namespace, index = place
        inside(namespace, lambda: _set(index, _WHOLE) if _is_cut(index) else None)


def _place(endpoint: Endpoint, direction: Direction) -> tuple[str, int] | None:
    """Namespace and index of the interface that sends what crosses."""
    if endpoint.namespace is None:
        return None
    ends = inside(endpoint.namespace, lambda: _ends(endpoint.interface))
    if ends is None:
        return None
    own, other = ends
    if direction == "up":
        return endpoint.namespace, own
    for namespace in (*(path for path in endpoint.switches if Path(path).exists()), _OWN):
        if inside(namespace, lambda: _ends_at(other, own)):
            return namespace, other
    return None


def _ends(interface: str) -> tuple[int, int] | None:
    with netlink() as route:
        for index in route.link_lookup(ifname=interface):
            (link,) = route.get_links(index)
            return int(index), int(link.get_attr("IFLA_LINK") or 0)
    return None


def _ends_at(index: int, other: int) -> bool:
    """Whether there is a veth of that index here, with that index at its other end: an index alone says little."""
    with netlink() as route:
        links: dict[int, Any] = {link["index"]: link for link in route.get_links()}
    link = links.get(index)
    if link is None or link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") != "veth":
        return False
    return bool(link.get_attr("IFLA_LINK") == other)


def _set(index: int, limits: dict[str, int]) -> None:
    with netlink() as route:
        route.link("set", index=index, **limits)


def _is_cut(index: int) -> bool:
    with netlink() as route:
        (link,) = route.get_links(index)
        return bool(link.get_attr("IFLA_GSO_MAX_SIZE") == _CUT["gso_max_size"])
