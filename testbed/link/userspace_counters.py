"""What the linkems of a lab say of themselves between two moments: how late packets went on, and what was not theirs.

Under load a userspace delay is longer than declared by as much as linkem had to wait for a CPU, and the kernel drops
what its queue has no room for. Only linkem knows; probes before the load do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from testbed.link.base import Endpoint
from testbed.link.userspace import Userspace
from testbed.model.record import Record, Verdict
from testbed.model.shape import Direction
from testbed.model.value import Value

LATE_NS = 1_000_000
LATE_SHARE_OF_DELAY = 0.1
"""One packet in a hundred may be late by a millisecond, or by a tenth of a delay above ten."""

_DROPS = ("kernel_dropped_full", "kernel_dropped_unread", "failed_copies")
_LATE = {"p50": "median", "p99": "99%", "max": "at most"}


class LinkemWindow(Value):
    """One linkem between two readings. Lateness is that of what it let go: at least so much, to an eighth."""

    label: str
    receiver: str
    released: int
    late_p50_ns: int
    late_p99_ns: int
    late_allowed_ns: int
    kernel_dropped_full: int
    kernel_dropped_unread: int
    failed_copies: int

    def findings(self) -> Iterator[tuple[Verdict, str]]:
        """What was not as declared, and what it makes of a point."""
        where = f"link {self.label} (userspace, at {self.receiver})"
        dropped = self.kernel_dropped_full + self.kernel_dropped_unread
        if dropped + self.failed_copies:
            lost = f"{dropped} packets and {self.failed_copies} copies"
            yield Verdict.INVALID, f"{where}: the kernel dropped {lost} that its shape does not lose"
        if self.late_p99_ns > self.late_allowed_ns:
            late_ms, allowed_ms = self.late_p99_ns / 1e6, self.late_allowed_ns / 1e6
            late = f"one packet in a hundred went on {late_ms:.1f} ms late or more, {allowed_ms:.1f} ms is allowed"
            yield Verdict.SUSPECT, f"{where}: {late}"


class UserspaceCounters:
    """Reads the linkems of ``links`` (endpoints and directions) when made, and at each ``judged``.

    A reading runs a program beside each receiver: not while something is measured.
    """

    def __init__(self, links: Sequence[tuple[Endpoint, Direction]]) -> None:
        self._links = links
        self._before = self._read()

    def judged(self, record: Record) -> Record:
        """The record of a point that has just ended, with what each linkem did since the reading before
        (``evidence.userspace``): worse, with the reasons, for what a link did that its shape does not say."""
        before, self._before = self._before, self._read()
        # A linkem that was started anew begins at nothing; one that was not there before was not this point's.
        windows = [_between(before[key], now) for key, now in self._before.items() if key in before]
        findings = [finding for window in windows for finding in window.findings()]
        return record.model_copy(
            update={
                "verdict": max((record.verdict, *(verdict for verdict, _ in findings)), key=list(Verdict).index),
                "reasons": (*record.reasons, *(reason for _, reason in findings)),
                "evidence": {**record.evidence, "userspace": [window.model_dump() for window in windows]},
            }
        )

    def _read(self) -> dict[tuple[str, str], dict[str, Any]]:
        found = (state for link in self._links for state in Userspace().states(*link))
        return {(state["label"], state["receiver"]): state for state in found}


def described(endpoint: Endpoint, direction: Direction) -> list[str]:
    """How late each linkem of the direction was so far, a line each; none of those that nothing crossed."""
    lines = []
    for state in Userspace().states(endpoint, direction):
        if not state["released"]:
            continue
        late = ", ".join(f"{name} {state[f'late_{key}_ns'] / 1e6:.2f} ms" for key, name in _LATE.items())
        drops = sum(state[name] for name in _DROPS)
        lines.append(
            f"at {state['receiver']}: {state['released']} packets, late by {late}; {drops} dropped by the kernel"
        )
    return lines


def _between(before: Mapping[str, Any], now: Mapping[str, Any]) -> LinkemWindow:
    counts = dict(now["late_counts"])
    start: Mapping[str, Any] = before if before["pid"] == now["pid"] else {}
    for low, count in start.get("late_counts", ()):
        counts[low] -= count
    allowed_ns = max(LATE_NS, round(LATE_SHARE_OF_DELAY * now["shape"]["delay_ns"]))
    return LinkemWindow(
        label=now["label"],
        receiver=now["receiver"],
        released=now["released"] - start.get("released", 0),
        late_p50_ns=_quantile(counts, 0.5),
        late_p99_ns=_quantile(counts, 0.99),
        late_allowed_ns=allowed_ns,
        **{name: now[name] - start.get(name, 0) for name in _DROPS},
    )


def _quantile(counts: Mapping[int, int], share: float) -> int:
    """The lowest value of the bucket in which the quantile falls; 0 when there is nothing."""
    wanted, seen = share * sum(counts.values()), 0
    for low in sorted(counts):
        seen += counts[low]
        if seen >= wanted and seen:
            return low
    return 0
