"""Who pays for receiving: each interface's frames are handled on the CPUs of the node that it belongs to.

A veth delivers in the sender's soft interrupt, so without steering the clients' CPU would do the server's receiving.
Receive packet steering (kernel: Documentation/networking/scaling.rst) moves it: a CPU mask in the interface's rps_cpus.

The switch between the nodes is hardware in the world that this stands for, and no server's work: what a server sends is
switched on the other nodes' CPUs, as what they send is anyway.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import RuntimeFault
from testbed.link.enter import inside

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 2, 4, 8, 32
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_SYS = Path("/sys")


def steer(namespace: str, interfaces: Sequence[str], cpus: Sequence[int]) -> None:
    """Let ``cpus`` handle what these interfaces in the namespace receive. Raises RuntimeFault."""
    mask = sum(1 << cpu for cpu in cpus)
    inside(namespace, lambda: _write_masks(interfaces, _mask_text(mask)))


def _mask_text(mask: int) -> str:
    """Hexadecimal words of 32 bits, the highest first, as sysfs wants them."""
    words = []
    while True:
        words.append(f"{mask & 0xFFFFFFFF:08x}")
        mask >>= 32
        if not mask:
            return ",".join(reversed(words))


def _write_masks(interfaces: Sequence[str], mask: str) -> None:
    """In a thread that dies afterwards: it leaves the process's mount namespace to see this namespace's own sysfs.

    Entering a network namespace does not change what a mounted sysfs shows, and in a container's namespace it was first
    mounted read-only, which a new mount inherits: hence the second, writable one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _call(libc.unshare(_CLONE_NEWNS), "unshare")
    _call(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    _call(libc.mount(b"sysfs", b"/sys", b"sysfs", flags, None), "mount sysfs")
    _call(libc.mount(b"sysfs", b"/sys", b"sysfs", flags | _MS_REMOUNT, None), "remount sysfs")
    for interface in interfaces:
        queues = sorted((_SYS / "class" / "net" / interface / "queues").glob("rx-*"))
        if not queues:
            raise RuntimeFault(f"interface {interface} has no receive queue")
        for queue in queues:
            try:
                (queue / "rps_cpus").write_text(mask)
            except OSError as error:
                raise RuntimeFault(f"receive steering of {interface} cannot be set: {error.strerror}") from None


def _call(result: int, what: str) -> None:
    if result != 0:
        raise RuntimeFault(f"receive steering: {what}: {os.strerror(ctypes.get_errno())}")
