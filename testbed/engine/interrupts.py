"""Ctrl-C and SIGTERM while a lab is made or removed: nothing may be left half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INSISTED = 4
"""So many signals mean that the user wants out whatever it leaves: the engine may hang."""


@contextmanager
def only_first_interrupts() -> Iterator[None]:
    """The first SIGINT or SIGTERM raises KeyboardInterrupt, further ones do not disturb the clean-up that follows."""
    with _counting(raising_at=(1, _INSISTED)):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the block is done; then KeyboardInterrupt is raised if one came."""
    with _counting(raising_at=(_INSISTED,)) as came:
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def _counting(raising_at: tuple[int, ...]) -> Iterator[list[int]]:
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) in raising_at:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came  # Python delivers signals to the main thread only; there is nothing to hold back here
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
