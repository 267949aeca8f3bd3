"""How far a run is: a live line with the time left on a terminal, one plain line a point otherwise. On stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from testbed.cli._progress import say
from testbed.engine.sweep import Point
from testbed.errors import ProgramError
from testbed.model.link_report import LinkReport
from testbed.model.record import Record, Verdict


class RunProgress:
    """An observer of ``testbed.engine.run``. ``estimate_s`` is the time a point is expected to take."""

    def __init__(self, title: str, estimate_s: float) -> None:
        self._title = title
        self._each_s = estimate_s
        self._live = sys.stderr.isatty()
        self._todo = 0
        self._done = 0
        self._began = time.monotonic()

    def calibrated(self, text: str) -> None:
        """One line a server."""
        say(f"{self._title}: {text}")

    def links_put_back(self) -> None:
        """So that nobody wonders what became of a link that was found changed."""
        say(f"{self._title}: a run that was killed had left links changed: they are put back")

    def links_measured(self, reports: Sequence[LinkReport]) -> None:
        """One line each: what was declared, what was found, which backend and why, and whether they agree."""
        for report in reports:
            say(f"{self._title}: link {report.text()}")

    def run_started(self, folder: Path, todo: int) -> None:
        """Says where results go, and how long it will take."""
        self._todo = todo
        self._began = time.monotonic()
        say(f"{self._title}: {todo} points, about {duration(todo * self._each_s)}, into {folder}")

    def server_skipped(self, label: str, reason: str) -> None:
        """Names what cannot run here."""
        say(f"{self._title}: skipped {label}: {reason}")

    def point_started(self, point: Point) -> None:
        """On a terminal: what is being measured, overwritten by the next."""
        if self._live:
            left = duration(self._left_s())
            sys.stderr.write(f"\r\033[K  {self._done + 1}/{self._todo}  {point.key}  ({left} left)")
            sys.stderr.flush()

    def point_done(self, record: Record) -> None:
        """The result of a point in one line."""
        self._done += 1
        mark = "" if record.verdict is Verdict.VALID else f"  {record.verdict.value}: {'; '.join(record.reasons)}"
        self._line(f"{record.point}: {record.replies_per_s:,.0f} replies/s{mark}")

    def point_failed(self, point: Point, error: ProgramError) -> None:
        """A point that left no record: it is tried again at the end."""
        self._line(f"{point.key}: FAILED: {error}")

    def _line(self, text: str) -> None:
        start = "\r\033[K" if self._live else ""
        say(f"{start}  {self._done}/{self._todo}  {text}  [{duration(self._left_s())} left]")

    def _left_s(self) -> float:
        if self._done:
            self._each_s = (time.monotonic() - self._began) / self._done
        return (self._todo - self._done) * self._each_s


def duration(seconds: float) -> str:
    """90 → "1 min 30 s"; 5400 → "1 h 30 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
