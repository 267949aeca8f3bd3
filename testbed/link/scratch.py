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
    errors: list[Exception] = []

    def hold() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
                raise OSError(os.strerror(ctypes.get_errno()))
            facts["thread"] = threading.get_native_id()
            facts["loopback"] = socket.if_nametoindex("lo")
        except Exception as error:  # noqa: BLE001 (it is raised again, in the caller's thread)
            errors.append(error)
        finally:
            ready.set()
        done.wait()

    thread = threading.Thread(target=hold, name="scratch namespace", daemon=True)
    thread.start()
    ready.wait()
    try:
        if errors:
            raise EnvironmentLack(f"no network namespace can be made: {errors[0]}", "run testbed as root on Linux")
        yield f"/proc/{os.getpid()}/task/{facts['thread']}/ns/net", facts["loopback"]
    finally:
        done.set()
        thread.join()
