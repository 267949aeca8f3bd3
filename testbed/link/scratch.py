"""A network namespace for a moment, with one interface in it: where the kernel is asked what it can do."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from testbed.errors import EnvironmentLack

_CLONE_NEWNET = 0x40000000


@contextmanager
def scratch_namespace() -> Iterator[tuple[str, int]]:
    """The path of a new namespace and the index of its loopback interface. It is gone when the block ends.

    A thread of its own holds it; nothing has a name that could stay behind. Raises EnvironmentLack without root.
    """
    ready, done = threading.Event(), threading.Event()
    facts: dict[str, int] = {}

    def hold() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) == 0:
            facts["thread"] = threading.get_native_id()
            facts["loopback"] = socket.if_nametoindex("lo")
        else:
            facts["errno"] = ctypes.get_errno()
        ready.set()
        done.wait()

    thread = threading.Thread(target=hold, name="scratch namespace", daemon=True)
    thread.start()
    ready.wait()
    try:
        if "errno" in facts:
            reason = os.strerror(facts["errno"])
            raise EnvironmentLack(f"no network namespace can be made: {reason}", "run testbed as root on Linux")
        yield f"/proc/{os.getpid()}/task/{facts['thread']}/ns/net", facts["loopback"]
    finally:
        done.set()
        thread.join()
