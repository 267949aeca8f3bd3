"""A program of ours in a node: starts it, reads its JSON lines, ends it and takes its summary."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from testbed.engine.lab import Lab
from testbed.errors import ProgramError, RunError
from testbed.runtime.base import Process

Line = dict[str, Any]

_KILL_TIMEOUT_S = 5.0


class Program:
    """A running program of ``docs/programs.md``. A context manager: leaving it kills what still runs."""

    def __init__(self, process: Process, node: str, name: str) -> None:
        self.node = node
        self.name = name
        self._process = process
        self._waiting: list[Line] = []
        self.intervals: list[Line] = []
        """Every ``interval`` line that was read so far, whatever became of it."""
        self._ended = False

    @classmethod
    def start(cls, lab: Lab, node: str, command: Sequence[str]) -> Program:
        """Start it in a node of a lab."""
        return cls(lab.start(node, command), node, command[0])

    @classmethod
    def launch(cls, lab: Lab, node: str, command: Sequence[str], first: bool = False) -> Program:
        """The same at little cost, for the many that are started in a node one after the other (``Lab.launch``)."""
        return cls(lab.launch(node, command, first), node, command[0])

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._process.signal("KILL")
            self._process.wait(_KILL_TIMEOUT_S)
        except RunError:
            if error is None:
                raise  # else what came first, Ctrl-C perhaps, is what counts

    def signal(self, name: str) -> None:
        """Send it a signal by name ("USR1")."""
        self._process.signal(name)

    def tell(self, line: str) -> None:
        """Write a line on its stdin."""
        self._process.tell(line)

    def expect(self, kind: str, timeout_s: float) -> Line:
        """The next line of that type; lines of other types before it are dropped.

        Raises ProgramError with the program's own words when it reports an error, ends, or stays silent.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            while self._waiting:
                line = self._waiting.pop(0)
                if line["type"] == kind:
                    return line
                if line["type"] == "error":
                    raise self._fault(str(line.get("message", line)))
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._fault(f"said no {kind!r} within {timeout_s:g} s")
            came = self._process.lines(min(left, 0.5))
            self._waiting.extend(self._parsed(text) for text in came)
            if not came and self._exited():
                last = self._process.lines(0.1)
                if not last:
                    raise self._fault(f"ended with status {self._process.wait(0.0)} before it said {kind!r}")
                self._waiting.extend(self._parsed(text) for text in last)

    def drain(self) -> list[Line]:
        """Every line that came and was not taken by ``expect``, without waiting."""
        self._waiting.extend(self._parsed(text) for text in self._process.lines(0.0))
        taken, self._waiting = self._waiting, []
        return taken

    def finish(self, timeout_s: float, ask: bool) -> Line:
        """Its summary, after a SIGTERM if ``ask``. Raises ProgramError if it does not end well within ``timeout_s``."""
        if ask:
            self._process.signal("TERM")
        summary = self.expect("summary", timeout_s)
        status = self._process.wait(timeout_s)
        self._ended = True
        if status != 0:
            raise self._fault(f"ended with status {status} after its summary")
        return summary

    def _exited(self) -> bool:
        try:
            self._process.wait(0.0)
        except ProgramError:
            return False
        self._ended = True
        return True

    def _parsed(self, text: str) -> Line:
        try:
            line = json.loads(text)
        except ValueError:
            raise self._fault(f"printed a line that is not JSON: {text[:120]!r}") from None
        if not isinstance(line, dict) or "type" not in line:
            raise self._fault(f"printed a line without a type: {text[:120]!r}")
        if line["type"] == "interval":
            self.intervals.append(line)
        return line

    def _fault(self, what: str) -> ProgramError:
        tail = self._process.stderr().strip().splitlines()[-1:]
        return ProgramError(f"{self.name} on {self.node} {what}" + (f" ({tail[0]})" if tail else ""))
