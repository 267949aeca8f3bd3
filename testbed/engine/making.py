"""Things are made in threads, so that an interrupt finds nothing under way that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Condition
from typing import TypeVar

_Thing = TypeVar("_Thing")


def make_all(make: Callable[[_Thing], None], things: Sequence[_Thing], at_once: int) -> None:
    """Make all of ``things``, so many at a time, and raise the first failure.

    After a failure or an interrupt none is begun any more, and those under way are waited for: what an engine was asked
    to make would else appear after the clean-up. Hence threads even for a single thing.
    """
    if not things:
        return
    under_way = _UnderWay()

    def make_one(thing: _Thing) -> None:
        if under_way.begins():
            try:
                make(thing)
            finally:
                under_way.ends()

    with ThreadPoolExecutor(min(at_once, len(things)), thread_name_prefix="make") as pool:
        try:
            futures = [pool.submit(make_one, thing) for thing in things]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # Not by the pool: an interrupt while it starts a thread lets it forget that thread.
            under_way.stop()
            pool.shutdown(wait=True, cancel_futures=True)
    for future in futures:
        if future in done:
            future.result()


class _UnderWay:
    """How many are being made."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._count = 0
        self._stopped = False

    def begins(self) -> bool:
        """Whether one more may be begun; then it counts."""
        with self._changed:
            self._count += not self._stopped
            return not self._stopped

    def ends(self) -> None:
        """One is made, or has failed."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Let none begin any more, and wait for the others."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: self._count == 0)
