"""Shares of the server's CPU time by system call, from the counters of ``userver --profile`` around the window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from testbed.errors import UsageError
from testbed.model.record import Record
from testbed.store.reading import Run

USER = "user time"
"""Everything that the server does outside system calls."""

_WAITS = ("select", "poll", "epoll_wait", "sigtimedwait", "io_getevents", "io_uring_enter")
"""Calls that can block: what they slept is no CPU time. epoll-ctlv's io_uring_enter does not: hence last."""


def shares_by_label(run: Run) -> dict[str, dict[str, float]]:
    """Label → call → per cent of the server's CPU time in the window, the mean over its points.

    Raises UsageError when the run was made without ``profile``.
    """
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for record in run.latest():
        if record.server.get("profile"):
            found[record.label].append(shares_of(record))
    if not found:
        raise UsageError(f"{run.folder}: no point was measured with profile=True, so there is no profile to draw")
    return {label: _means(found[label]) for label in run.manifest.labels if label in found}


def shares_of(record: Record) -> dict[str, float]:
    """Call → per cent of the server's CPU time in the window of a point that was measured with ``profile``.

    Calls are timed by the clock on the wall, so their sum exceeds the CPU time by what the server did not run. That is
    sleep, which belongs to the waits, or time taken from it, which may have fallen into any call. The scheduler
    counts how often either happened, and the excess is divided accordingly.
    """
    before, after = record.raw["server_before"], record.raw["server_after"]
    cpu_ns = 1e3 * (_cpu_us(after) - _cpu_us(before))
    spent = {
        name: float(counters["time_ns"] - before["syscalls"].get(name, {}).get("time_ns", 0))
        for name, counters in after["syscalls"].items()
    }
    in_calls_ns = cpu_ns - 1e3 * (after["cpu_user_us"] - before["cpu_user_us"])
    excess_ns = max(0.0, sum(spent.values()) - in_calls_ns)
    _take_sleep(spent, excess_ns * _share_of_sleep(before, after))
    taken = min(1.0, in_calls_ns / total) if (total := sum(spent.values())) else 1.0
    shares = {name: 100 * taken * time_ns / cpu_ns for name, time_ns in spent.items() if time_ns}
    return {**shares, USER: max(0.0, 100 - sum(shares.values()))}


def _share_of_sleep(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Of all times that the server left its CPU: how many it chose to. Exact where one kind is rare, as is usual."""
    chosen, forced = (
        after.get(f"context_switches_{kind}", 0) - before.get(f"context_switches_{kind}", 0)
        for kind in ("voluntary", "involuntary")
    )
    return float(chosen / (chosen + forced)) if chosen + forced else 0.0


def _take_sleep(spent: dict[str, float], sleep_ns: float) -> None:
    for name in _WAITS:
        if name in spent:
            slept_ns = min(spent[name], sleep_ns)
            spent[name] -= slept_ns
            sleep_ns -= slept_ns


def _cpu_us(line: Mapping[str, Any]) -> float:
    return float(line["cpu_user_us"] + line["cpu_system_us"])


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for shares in each for name in shares}
    return {name: mean(shares.get(name, 0.0) for shares in each) for name in names}


def calls_in_order(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """All calls, the largest first as in the paper's table, user time last."""
    names = {name for each in shares.values() for name in each} - {USER}
    return [*sorted(names, key=lambda name: -max(each.get(name, 0.0) for each in shares.values())), USER]
