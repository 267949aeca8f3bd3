"""Where a qdisc of ours goes: the interface itself for what is sent, an ifb beside it for what is received.

What arrives is redirected through an ifb of our own, whose queue is then the direction's queue. The ifb has our name,
so that it is found again, and goes away with the shape.
"""

from __future__ import annotations

from testbed.errors import RuntimeFault, UsageError
from testbed.link.base import Endpoint
from testbed.link.enter import inside, netlink
from testbed.link.qdisc import INGRESS, INGRESS_HANDLE, ROOT, Qdisc, Qdiscs
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


def in_the_way(endpoint: Endpoint, direction: Direction) -> str | None:
    """What of somebody else's is where our qdisc or our redirection would go, or None. Raises UsageError where
    there is no such interface."""
    namespace = namespace_of(endpoint)
    index = _known(endpoint, endpoint.interface)
    with Qdiscs(namespace) as qdiscs:
        present = qdiscs.of(index)
    if direction == "up":
        return next(
            (foreign_words(endpoint, root) for root in present if root.parent == ROOT and is_foreign(root)), None
        )
    ingress = next((qdisc for qdisc in present if qdisc.parent == INGRESS), None)
    if ingress is None or inside(namespace, lambda: _is_ours(endpoint, index)):
        return None
    return (
        f"{endpoint.interface} has an {ingress.kind} qdisc that testbed did not make: remove it, or shape another "
        "direction"
    )


def is_foreign(root: Qdisc) -> bool:
    """Whether somebody else put it there."""
    return not (root.is_default or root.is_testbeds)


def foreign_words(endpoint: Endpoint, root: Qdisc) -> str:
    """The same in words."""
    return f"{endpoint.interface} has the qdisc {root.name}, which testbed did not make: remove it first"


def redirect(endpoint: Endpoint) -> int:
    """Make the ifb, but redirect nothing yet; returns its index. Fine if it is there."""
    return inside(namespace_of(endpoint), lambda: _make_ifb(endpoint))


def is_redirecting(endpoint: Endpoint) -> bool:
    """Whether what arrives is sent through the ifb."""
    index = _known(endpoint, endpoint.interface)
    return inside(namespace_of(endpoint), lambda: _FILTER_PREFERENCE in _filters(index))


def start_redirecting(endpoint: Endpoint) -> None:
    """Send what arrives through the ifb. Fine if it goes there already."""
    if is_redirecting(endpoint):
        return
    namespace = namespace_of(endpoint)
    index = _known(endpoint, endpoint.interface)
    with Qdiscs(namespace) as qdiscs:
        if not any(qdisc.parent == INGRESS for qdisc in qdiscs.of(index)):
            qdiscs.put(index, INGRESS, INGRESS_HANDLE, "ingress")
    ifb = _known(endpoint, ifb_name(endpoint))
    inside(namespace, lambda: _add_filter(index, ifb))


def stop_redirecting(endpoint: Endpoint) -> None:
    """Remove our filter, our ingress qdisc (if nobody else put a filter there) and our ifb."""
    namespace = namespace_of(endpoint)
    index = inside(namespace, lambda: _index(endpoint.interface))
    if index is not None and inside(namespace, lambda: _is_ours(endpoint, index)):
        others = inside(namespace, lambda: _remove_filter(index))
        with Qdiscs(namespace) as qdiscs:
            if not others and any(qdisc.parent == INGRESS for qdisc in qdiscs.of(index)):
                qdiscs.delete(index, INGRESS, INGRESS_HANDLE)
    inside(namespace, lambda: _remove_ifb(endpoint))


def _known(endpoint: Endpoint, name: str) -> int:
    index = inside(namespace_of(endpoint), lambda: _index(name))
    if index is None:
        raise UsageError(f"{endpoint.name}: there is no interface {name}")
    return index


def _index(name: str) -> int | None:
    with netlink() as route:
        found = route.link_lookup(ifname=name)
        return int(found[0]) if found else None


def _make_ifb(endpoint: Endpoint) -> int:
    from pyroute2.netlink.exceptions import NetlinkError  # loaded late, as ``netlink`` does

    name = ifb_name(endpoint)
    with netlink() as route:
        if not route.link_lookup(ifname=name):
            try:
                route.link("add", ifname=name, kind="ifb")
            except NetlinkError as error:
                raise RuntimeFault(f"{endpoint.name}: no ifb {name} can be made: {error}") from None
        index = int(route.link_lookup(ifname=name)[0])
        route.link("set", index=index, state="up")
        return index


def _remove_ifb(endpoint: Endpoint) -> None:
    with netlink() as route:
        for index in route.link_lookup(ifname=ifb_name(endpoint), kind="ifb"):
            route.link("del", index=index)


def _add_filter(index: int, ifb: int) -> None:
    """A u32 filter that takes everything: the oldest classifier, in every kernel that has any."""
    redirect_all = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": ifb}
    with netlink() as route:
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


def _filters(index: int) -> list[int]:
    """Preferences of all filters at the ingress qdisc."""
    with netlink() as route:
        return [message["info"] >> 16 for message in route.get_filters(index=index, parent=INGRESS_HANDLE)]


def _is_ours(endpoint: Endpoint, index: int) -> bool:
    """Whether the ingress qdisc is ours: it has our filter, or nobody's any more beside our ifb."""
    filters = _filters(index)
    return _FILTER_PREFERENCE in filters or (not filters and _index(ifb_name(endpoint)) is not None)


def _remove_filter(index: int) -> bool:
    """Remove ours, if it is there; returns whether there are others."""
    filters = _filters(index)
    if _FILTER_PREFERENCE in filters:
        info = (_FILTER_PREFERENCE << 16) | 0x0300
        with netlink() as route:
            route.tc("del-filter", index=index, parent=INGRESS_HANDLE, info=info)
    return any(preference != _FILTER_PREFERENCE for preference in filters)
