"""Doing something inside a network namespace, in a thread of its own, so that the caller never leaves its own."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from testbed.errors import EnvironmentLack, RuntimeFault

if TYPE_CHECKING:
    from pyroute2 import IPRoute

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def inside(namespace: str, work: Callable[[], T]) -> T:
    """The result of ``work``, called in the network namespace of that path (``/proc/PID/ns/net``).

    A socket that it opens stays in that namespace. Raises RuntimeFault when there is no such namespace,
    EnvironmentLack when this process may not enter it, and what ``work`` raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(namespace)
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=enter_and_work, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def netlink() -> IPRoute:
    """A netlink socket in the namespace that the thread is in; to be used as a context manager.

    The library is loaded at its first use: it takes longer than many a verb that never speaks netlink.
    """
    from pyroute2 import IPRoute

    return IPRoute()


def _enter(namespace: str) -> None:
    try:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RuntimeFault(f"network namespace {namespace}: {error.strerror}") from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise EnvironmentLack(f"network namespace {namespace} cannot be entered: {reason}", "run testbed as root")
    finally:
        os.close(descriptor)
