"""The priority of a program in a node, given from outside."""

from __future__ import annotations

import os
import signal

_HIGHEST_NICE = -20


def raise_priority(pid: int, handle: int) -> bool:
    """Nice -20 for the process of that number; ``handle`` (pidfd) proves that the number is still its own.

    False where that is not permitted. True for a process that has ended: nothing is in its way.
    """
    try:
        signal.pidfd_send_signal(handle, 0)
        os.setpriority(os.PRIO_PROCESS, pid, _HIGHEST_NICE)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True
