"""The lab's own switch: a network namespace with one plain bridge per network; the host-side veth ends move into it.

An engine's bridge stands in the host's namespace, where br_netfilter shows every frame to iptables and to connection
tracking. Here nothing does. Addresses, names and everything that the engine knows of its networks stay as they are, and
removing a container removes its veth as usual.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import EnvironmentLack, RuntimeFault
from testbed.link.enter import inside, netlink

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH = 2
_FOLDER = Path("/run/netns")
"""Where iproute2 keeps named namespaces: ours show in ``ip netns list``."""

_SETTINGS = Path("/proc/sys/net")
"""Of the namespace that the thread is in, unlike /sys."""

QUIET = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    "bridge/bridge-nf-call-arptables": "0",
}
"""A switch speaks no IPv6 of its own: routers' and multicast searches would travel among the frames that are measured.
And it shows no frame to a firewall: where br_netfilter is loaded, a new namespace begins with that switched on."""

_PREFIX, _SUFFIX = "tb-", ".switch"
"""No lab or node has a dot in its name, so no other namespace of ours has such a name."""


@dataclass(frozen=True)
class Port:
    """One interface of a node, as seen from inside: its name there, and the index of its other end, on the host."""

    interface: str
    host_index: int


def switch_name(lab: str) -> str:
    """The name of a lab's switch namespace."""
    return f"{_PREFIX}{lab}{_SUFFIX}"


def switch_path(lab: str) -> str:
    """Where a lab's switch namespace can be entered."""
    return str(_FOLDER / switch_name(lab))


def ports(namespace: str, addresses: Sequence[str]) -> dict[str, Port]:
    """The veth interfaces of a namespace that carry these addresses: address → port.

    Taken from netlink: names differ between engines, and /sys shows the host's interfaces. Raises RuntimeFault when an
    address is on no veth: then the namespace is not that of the node.
    """
    found = inside(namespace, _veth_ports)
    missing = [address for address in addresses if address not in found]
    if missing:
        raise RuntimeFault(f"no veth in {namespace} has the address {missing[0]}")
    return {address: found[address] for address in addresses}


def _veth_ports() -> dict[str, Port]:
    with netlink() as route:
        links = {link["index"]: link for link in route.get_links()}
        found = {}
        for entry in route.get_addr(family=2):
            link = links[entry["index"]]
            if _kind(link) == "veth" and link.get_attr("IFLA_LINK"):
                port = Port(link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_LINK"))
                found[entry.get_attr("IFA_ADDRESS")] = port
        return found


def _kind(link: object) -> str | None:
    return link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")  # type: ignore[attr-defined,no-any-return]  # a netlink message


def lay(lab: str, members: Mapping[str, Sequence[int]], bridges: Mapping[str, str]) -> dict[int, str]:
    """Make the switch and move the ends in: ``members`` maps a network to host-side indices, ``bridges`` to the name
    of the bridge on which they must now be. Nothing is moved that is not a veth on that bridge.

    Returns the names of the ends in the switch, by index. Raises RuntimeFault.
    """
    create_namespace(switch_name(lab))
    path = switch_path(lab)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # In a thread of its own although it is the namespace that this one is in: netlink cannot be used where an
        # event loop runs, as one does in a notebook.
        inside("/proc/thread-self/ns/net", lambda: _check_and_move(members, bridges, descriptor))
    finally:
        os.close(descriptor)
    return inside(path, lambda: _bridge(members))


def _check_and_move(members: Mapping[str, Sequence[int]], bridges: Mapping[str, str], namespace: int) -> None:
    """All are checked before the first is moved."""
    with netlink() as route:
        links = {link["index"]: link for link in route.get_links()}
        numbers = {link.get_attr("IFLA_IFNAME"): index for index, link in links.items()}
        for network, indices in members.items():
            bridge = numbers.get(bridges[network])
            for index in indices:
                link = links.get(index)
                if link is None or bridge is None or _kind(link) != "veth" or link.get_attr("IFLA_MASTER") != bridge:
                    raise RuntimeFault(f"interface {index} is no veth on the bridge of network {network}: not moved")
        for indices in members.values():
            for index in indices:
                route.link("set", index=index, net_ns_fd=namespace)


def _bridge(members: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """In the switch namespace: one bridge a network; the ends keep their indices when they come in."""
    for setting, value in QUIET.items():
        if (_SETTINGS / setting).exists():
            (_SETTINGS / setting).write_text(value)
    with netlink() as route:
        route.link("set", index=route.link_lookup(ifname="lo")[0], state="up")
        here = {link["index"]: str(link.get_attr("IFLA_IFNAME")) for link in route.get_links() if _kind(link) == "veth"}
        for number, indices in enumerate(members.values()):
            name = f"bridge{number}"
            route.link("add", ifname=name, kind="bridge", br_forward_delay=0, br_stp_state=0, br_mcast_snooping=0)
            bridge = route.link_lookup(ifname=name)[0]
            route.link("set", index=bridge, state="up")
            for index in indices:
                if index not in here:
                    raise RuntimeFault(f"interface {index} did not arrive in the switch under its own number")
                route.link("set", index=index, master=bridge)
                route.link("set", index=index, state="up")
        return here


def create_namespace(name: str) -> None:
    """Make a named network namespace, as ``ip netns add`` does. Raises RuntimeFault."""
    _FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = _FOLDER / name
    errors: list[str] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not _share_folder(libc):
            errors.append(f"{_FOLDER}: {os.strerror(ctypes.get_errno())}")
            return
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
            return
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net".encode()
        if libc.unshare(_CLONE_NEWNET) != 0 or libc.mount(own, str(path).encode(), b"none", _MS_BIND, None) != 0:
            errors.append(os.strerror(ctypes.get_errno()))
            path.unlink()

    thread = threading.Thread(target=make, name="new namespace")
    thread.start()
    thread.join()
    if errors:
        raise RuntimeFault(f"network namespace {name} cannot be made: {errors[0]}")


def _share_folder(libc: ctypes.CDLL) -> bool:
    """Make the folder a mount of its own before anything is mounted in it, as ``ip netns add`` does.

    Else the first ``ip netns add`` that comes later would cover what is mounted here, and nobody could remove it.
    """
    folder = str(_FOLDER).encode()
    descriptor = os.open(_FOLDER, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None) == 0:
            return True
        return (
            ctypes.get_errno() == errno.EINVAL
            and libc.mount(folder, folder, b"none", _MS_BIND | _MS_REC, None) == 0
            and libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None) == 0
        )
    finally:
        os.close(descriptor)


def remove_namespace(name: str) -> None:
    """Remove a named network namespace; fine if there is none. Raises EnvironmentLack without root."""
    path = _FOLDER / name
    libc = ctypes.CDLL(None, use_errno=True)
    # It fails where a maker was stopped before the mount: then only the file is left.
    libc.umount2(str(path).encode(), _MNT_DETACH)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentLack(
            f"network namespace {name} cannot be removed: {error.strerror}", "run testbed as root"
        ) from None


def namespaces() -> list[str]:
    """Labs of which a switch namespace stands."""
    if not _FOLDER.is_dir():
        return []
    names = [path.name for path in _FOLDER.iterdir()]
    ours = [name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    return sorted(name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in ours)
