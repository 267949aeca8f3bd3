"""Ctrl-C, SIGTERM and a closed terminal while a lab is made or removed: nothing may be left half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INSISTED = 4
"""So many signals mean that the user wants out whatever it leaves: the engine may hang."""


@contextmanager
def only_first_interrupts() -> Iterator[None]:
    """The first of these signals raises KeyboardInterrupt, further ones do not disturb the clean-up that follows."""
    with _counting(raising_at=(1, _INSISTED)):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """These signals wait until the block is done; then KeyboardInterrupt is raised if one came."""
    with _counting(raising_at=(_INSISTED,)) as came:
        yield
    if came:
        raise KeyboardInterrupt


def handle(handler: Any) -> dict[signal.Signals, Any]:
    """Let the signals by which users end a program be handled so; returns what did before.

    SIGHUP stays ignored where it is: whoever began this under nohup wants it to outlive the terminal.
    """
    wanted = [each for each in _SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in wanted}


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
    before = handle(note)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
