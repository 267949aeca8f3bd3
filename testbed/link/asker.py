"""A program in a node that waits to ask a linkem for another shape (``linkem --ask change --at``)."""

from __future__ import annotations

import json
import time

from testbed.errors import ProgramError, RuntimeFault
from testbed.runtime.base import Process

_READY_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 5.0


class Asker:
    """Waits when made. ``label`` names the link in errors."""

    def __init__(self, process: Process, label: str) -> None:
        self._process = process
        self._label = label
        self._unread: list[str] = []
        try:
            self._next("waiting", _READY_TIMEOUT_S)
        except RuntimeFault:
            self.cancel()
            raise

    def outcome(self, timeout_s: float) -> int:
        """When the linkem had the shape, by the linkem itself. Raises RuntimeFault."""
        return self._next("state", timeout_s)

    def cancel(self) -> None:
        """End it if it still waits."""
        self._process.signal("KILL")
        try:
            self._process.wait(_END_TIMEOUT_S)
        except ProgramError as error:
            raise RuntimeFault(f"{self._label}: {error}") from None

    def _next(self, kind: str, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while not self._unread:
            left = deadline - time.monotonic()
            self._unread += self._process.lines(max(0.0, min(left, 0.5)))
            if left <= 0 and not self._unread:
                raise RuntimeFault(f"{self._label}: linkem said no {kind!r} in time")
        text = self._unread.pop(0)
        line = json.loads(text)
        if line["type"] != kind:
            raise RuntimeFault(f"{self._label}: linkem: {line.get('message', text)}")
        return int(line["now_ns"])
