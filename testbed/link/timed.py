"""Changes of links that wait for their moment, prepared beforehand so that only the change itself is left to do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from testbed.errors import RuntimeFault

_NS_PER_S = 1_000_000_000
_HIGHEST_NICE = -20


class Planned(Protocol):
    """A change that waits, or has been made."""

    def outcome(self, timeout_s: float) -> int:
        """When it was in force (CLOCK_MONOTONIC, ns). Raises RuntimeFault when it failed, or had not come by then."""
        ...

    def cancel(self) -> None:
        """Never mind, if it has not come yet; returns when it can come no more. Needed once, whatever came of it."""
        ...


class TimedCall:
    """``work`` at a moment, in a thread that goes before ordinary programs. ``close`` is called at the end."""

    def __init__(self, at_ns: int, work: Callable[[], None], close: Callable[[], None]) -> None:
        self._at_ns = at_ns
        self._work = work
        self._close = close
        self._cancelled = threading.Event()
        self._done_ns: int | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="change of a link", daemon=True)
        self._thread.start()

    def outcome(self, timeout_s: float) -> int:
        """See ``Planned``."""
        self._thread.join(timeout_s)
        if self._error is not None:
            raise RuntimeFault(str(self._error))
        if self._done_ns is None:
            raise RuntimeFault("the change was not made in time")
        return self._done_ns

    def cancel(self) -> None:
        """See ``Planned``."""
        self._cancelled.set()
        self._thread.join()
        self._close()

    def _run(self) -> None:
        _go_before_others()
        # Not time.sleep: it could not be woken for a cancellation, and this is as exact.
        if self._cancelled.wait(max(0, self._at_ns - time.monotonic_ns()) / _NS_PER_S):
            return
        try:
            self._work()
            self._done_ns = time.monotonic_ns()
        except Exception as error:  # noqa: BLE001 (it is raised again where the outcome is asked for)
            self._error = error


class Together:
    """Several changes of one moment: in force when the last one is."""

    def __init__(self, changes: Sequence[Planned]) -> None:
        self._changes = tuple(changes)

    def outcome(self, timeout_s: float) -> int:
        """See ``Planned``."""
        deadline = time.monotonic() + timeout_s
        return max(change.outcome(max(0.0, deadline - time.monotonic())) for change in self._changes)

    def cancel(self) -> None:
        """See ``Planned``."""
        for change in self._changes:
            change.cancel()


def _go_before_others() -> None:
    """Real-time priority for this thread alone, or else the best nice value; without either it takes its turn."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except (OSError, AttributeError):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _HIGHEST_NICE)
