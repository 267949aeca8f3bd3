"""Shares of the server's CPU time by system call, from the counters of ``userver --profile`` around the window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from testbed.errors import UsageError
from testbed.model.record import Record, Verdict
from testbed.store.reading import Run

USER = "user time"
"""As the kernel counts it: the server's own code."""

KERNEL = "kernel, outside the calls"
"""What is left: interrupts and page faults on the server's time, and the ways into the calls and out again."""

_WAITS = ("select", "poll", "epoll_wait", "sigtimedwait", "io_getevents", "io_uring_enter")
"""Calls that can block, in results from before the server said which of its calls do. What they slept is no CPU time.
epoll-ctlv's io_uring_enter does not: hence last."""


@dataclass(frozen=True)
class Profile:
    """A server's shares by call, per cent of its CPU time: the mean over its points, of which so many are valid."""

    shares: Mapping[str, float]
    points: int
    valid: int

    @property
    def note(self) -> str:
        """What a reader must know of the points; empty where all are valid."""
        return "" if self.valid == self.points else f"{self.valid} of {self.points} points valid"


def profiles_by_label(run: Run) -> dict[str, Profile]:
    """The profile of each server that has one, in declared order.

    Raises UsageError when the run was made without ``profile``.
    """
    found: dict[str, list[Record]] = defaultdict(list)
    for record in run.latest():
        if record.server.get("profile"):
            found[record.label].append(record)
    if not found:
        raise UsageError(f"{run.folder}: no point was measured with profile=True, so there is no profile to draw")
    return {label: _profile(found[label]) for label in run.manifest.labels if label in found}


def _profile(records: Sequence[Record]) -> Profile:
    valid = sum(record.verdict is Verdict.VALID for record in records)
    return Profile(_means([shares for record in records if (shares := shares_of(record))]), len(records), valid)


def shares_of(record: Record) -> dict[str, float]:
    """Call → per cent of the server's CPU time in the window of a point that was measured with ``profile``.

    Of calls that may sleep the server tells the CPU time. The others are timed by the clock on the wall, so their sum
    may exceed the CPU time that is left by what was taken from the server (interrupts, other programs), which may have
    fallen into any of them. Empty where the server used no CPU time.

    In results from before the server told it, the excess is sleep, which belongs to the waits, or time taken. The
    scheduler counts how often either happened, and the excess is divided accordingly: too much for the waits of a
    server that sleeps often and is interrupted often.
    """
    before, after = record.raw["server_before"], record.raw["server_after"]
    cpu_ns = 1e3 * (_cpu_us(after) - _cpu_us(before))
    user_ns = 1e3 * (after["cpu_user_us"] - before["cpu_user_us"])
    if not cpu_ns:
        return {}
    spent = {
        name: float(counters["time_ns"] - before["syscalls"].get(name, {}).get("time_ns", 0))
        for name, counters in after["syscalls"].items()
    }
    system_ns = cpu_ns - user_ns
    waits_ns = _cpu_time_of_waits(before["syscalls"], after["syscalls"])
    if not waits_ns:
        excess_ns = max(0.0, sum(spent.values()) - system_ns)
        _take_sleep(spent, _waits(after["syscalls"]), excess_ns * _share_of_sleep(before, after))
    others_ns = {name: time_ns for name, time_ns in spent.items() if name not in waits_ns}
    in_calls_ns = _within(system_ns, waits_ns)
    in_calls_ns |= _within(system_ns - sum(in_calls_ns.values()), others_ns)
    in_calls_ns = {name: time_ns for name, time_ns in in_calls_ns.items() if time_ns}
    outside_ns = max(0.0, system_ns - sum(in_calls_ns.values()))
    return {name: 100 * ns / cpu_ns for name, ns in {**in_calls_ns, KERNEL: outside_ns, USER: user_ns}.items()}


def _cpu_time_of_waits(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(counters["cpu_ns"] - before.get(name, {}).get("cpu_ns", 0))
        for name, counters in after.items()
        if "cpu_ns" in counters
    }


def _within(room_ns: float, times_ns: Mapping[str, float]) -> dict[str, float]:
    """The times, all made shorter alike where they do not fit."""
    total_ns = sum(times_ns.values())
    fits = min(1.0, max(0.0, room_ns) / total_ns) if total_ns else 1.0
    return {name: fits * time_ns for name, time_ns in times_ns.items()}


def _waits(calls: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """The calls that can block, as the server says."""
    if any("waits" in counters for counters in calls.values()):
        return [name for name, counters in calls.items() if counters["waits"]]
    return _WAITS


def _share_of_sleep(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """Of all times that the server left its CPU: how many it chose to. Exact where one kind is rare, as is usual."""
    chosen, forced = (
        after.get(f"context_switches_{kind}", 0) - before.get(f"context_switches_{kind}", 0)
        for kind in ("voluntary", "involuntary")
    )
    return float(chosen / (chosen + forced)) if chosen + forced else 0.0


def _take_sleep(spent: dict[str, float], waits: Sequence[str], sleep_ns: float) -> None:
    for name in waits:
        if name in spent:
            slept_ns = min(spent[name], sleep_ns)
            spent[name] -= slept_ns
            sleep_ns -= slept_ns


def _cpu_us(line: Mapping[str, Any]) -> float:
    return float(line["cpu_user_us"] + line["cpu_system_us"])


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for shares in each for name in shares}
    return {name: mean(shares.get(name, 0.0) for shares in each) for name in names}


def calls_in_order(profiles: Iterable[Profile]) -> list[str]:
    """All calls, the largest first as in the paper's table, then what is outside of them."""
    each = [profile.shares for profile in profiles]
    names = {name for shares in each for name in shares} - {USER, KERNEL}
    return [*sorted(names, key=lambda name: -max(shares.get(name, 0.0) for shares in each)), KERNEL, USER]
