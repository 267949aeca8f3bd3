"""Where a qdisc of ours goes: the interface itself for what is sent, an ifb beside it for what is received.

What arrives is redirected through an ifb of our own, whose queue is then the direction's queue. The ifb has our name,
so that it is found again, and goes away with the shape.
"""

from __future__ import annotations

from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.errors import RuntimeFault, UsageError
from testbed.link.base import Endpoint
from testbed.link.enter import inside
from testbed.link.qdisc import INGRESS, INGRESS_HANDLE, Qdiscs
from testbed.model.shape import Direction

_FILTER_PREFERENCE = 0x7B01
_ALL_PROTOCOLS = 0x0003


def interface_index(endpoint: Endpoint, direction: Direction) -> int | None:
    """The interface whose root qdisc is the direction's, None while nothing of ours redirects what is received."""
    namespace = namespace_of(endpoint)
    name = endpoint.interface if direction == "up" else ifb_name(endpoint)
    found = inside(namespace, lambda: _index(name))
    if found is None and direction == "up":
        raise UsageError(f"{endpoint.name}: there is no interface {name}")
    return found


def namespace_of(endpoint: Endpoint) -> str:
    """The namespace's path. Raises UsageError where there is none: ``lack`` should have been asked."""
    if endpoint.namespace is None:
        raise UsageError(f"{endpoint.name}: its network namespace cannot be entered from here")
    return endpoint.namespace


def ifb_name(endpoint: Endpoint) -> str:
    """The name of our ifb beside an interface (at most 15 characters, as the kernel wants)."""
    return f"tb-{endpoint.interface}"[:15]


def redirect(endpoint: Endpoint) -> int:
    """Make the ifb, but redirect nothing yet; returns its index. Fine if it is there.

    Raises UsageError when there is no such interface, or when somebody else has an ingress qdisc on it.
    """
    namespace = namespace_of(endpoint)
    index = _known(endpoint, endpoint.interface)
    with Qdiscs(namespace) as qdiscs:
        present = next((qdisc for qdisc in qdiscs.of(index) if qdisc.parent == INGRESS), None)
    if present is not None and not inside(namespace, lambda: _our_filters(index)):
        raise UsageError(
            f"{endpoint.name}: {endpoint.interface} has an {present.kind} qdisc that testbed did not make: "
            "remove it, or shape another direction"
        )
    return inside(namespace, lambda: _make_ifb(endpoint))


def start_redirecting(endpoint: Endpoint) -> None:
    """Send what arrives through the ifb. Fine if it goes there already."""
    namespace = namespace_of(endpoint)
    index = _known(endpoint, endpoint.interface)
    if inside(namespace, lambda: _our_filters(index)):
        return
    with Qdiscs(namespace) as qdiscs:
        qdiscs.put(index, INGRESS, INGRESS_HANDLE, "ingress")
    ifb = _known(endpoint, ifb_name(endpoint))
    inside(namespace, lambda: _add_filter(index, ifb))


def stop_redirecting(endpoint: Endpoint) -> None:
    """Remove our filter, our ingress qdisc (if nobody else put a filter there) and our ifb."""
    namespace = namespace_of(endpoint)
    index = inside(namespace, lambda: _index(endpoint.interface))
    if index is not None and inside(namespace, lambda: _our_filters(index)):
        others = inside(namespace, lambda: _remove_filter(index))
        if not others:
            with Qdiscs(namespace) as qdiscs:
                qdiscs.delete(index, INGRESS, INGRESS_HANDLE)
    inside(namespace, lambda: _remove_ifb(endpoint))


def _known(endpoint: Endpoint, name: str) -> int:
    index = inside(namespace_of(endpoint), lambda: _index(name))
    if index is None:
        raise UsageError(f"{endpoint.name}: there is no interface {name}")
    return index


def _index(name: str) -> int | None:
    with IPRoute() as route:
        found = route.link_lookup(ifname=name)
        return int(found[0]) if found else None


def _make_ifb(endpoint: Endpoint) -> int:
    name = ifb_name(endpoint)
    with IPRoute() as route:
        if not route.link_lookup(ifname=name):
            try:
                route.link("add", ifname=name, kind="ifb")
            except NetlinkError as error:
                raise RuntimeFault(f"{endpoint.name}: no ifb {name} can be made: {error}") from None
        index = int(route.link_lookup(ifname=name)[0])
        route.link("set", index=index, state="up")
        return index


def _remove_ifb(endpoint: Endpoint) -> None:
    with IPRoute() as route:
        for index in route.link_lookup(ifname=ifb_name(endpoint), kind="ifb"):
            route.link("del", index=index)


def _add_filter(index: int, ifb: int) -> None:
    """A u32 filter that takes everything: the oldest classifier, in every kernel that has any."""
    redirect_all = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": ifb}
    with IPRoute() as route:
        route.tc(
            "add-filter",
            "u32",
            index,
            parent=INGRESS_HANDLE,
            prio=_FILTER_PREFERENCE,
            protocol=_ALL_PROTOCOLS,
            target=0x10000,
            keys=["0x0/0x0+0"],
            action=redirect_all,
        )


def _filters(route: Any, index: int) -> list[int]:
    """Preferences of all filters at the ingress qdisc."""
    return [message["info"] >> 16 for message in route.get_filters(index=index, parent=INGRESS_HANDLE)]


def _our_filters(index: int) -> bool:
    with IPRoute() as route:
        return _FILTER_PREFERENCE in _filters(route, index)


def _remove_filter(index: int) -> bool:
    """Remove ours; returns whether there are others."""
    with IPRoute() as route:
        others = [preference for preference in _filters(route, index) if preference != _FILTER_PREFERENCE]
        info = (_FILTER_PREFERENCE << 16) | 0x0300
        route.tc("del-filter", index=index, parent=INGRESS_HANDLE, info=info)
        return bool(others)
