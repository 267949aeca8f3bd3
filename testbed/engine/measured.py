"""What the machine itself says around a measurement window: CPU time by CPU, steal, pressure, quotas, softnet drops."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.model.placed import cpu_numbers
from testbed.runtime import control_groups

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")

_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Columns of a cpu line in /proc/stat, in seconds here (proc(5))."""


@dataclass(frozen=True)
class HostSample:
    """One reading. ``cpus`` maps a CPU to its times in seconds.

    ``pressure_s`` is the time in which something waited for a CPU (PSI "some"; None where the kernel has no PSI);
    ``throttled_s`` is the time for which a quota stopped this program's control group or one around it (None where no
    group can be read); ``softnet_drops`` counts frames that a full backlog dropped.
    """

    at_ns: int
    cpus: dict[int, dict[str, float]]
    pressure_s: float | None
    throttled_s: float | None
    softnet_drops: int


def sample_host() -> HostSample:
    """Read it now (about 0.2 ms)."""
    cpus: dict[int, dict[str, float]] = {}
    for line in (_PROC / "stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            cpus[int(name[3:])] = {
                field: int(value) * _TICK_S for field, value in zip(_FIELDS, values[: len(_FIELDS)], strict=True)
            }
    return HostSample(time.monotonic_ns(), cpus, _pressure_s(), control_groups.throttled_s(), _softnet_drops())


def _pressure_s() -> float | None:
    try:
        text = (_PROC / "pressure" / "cpu").read_text()
    except OSError:
        return None  # PSI is off or not built in: the record says null, which no rule judges
    return int(text.split("total=", 1)[1].split()[0]) / 1e6


def _softnet_drops() -> int:
    # Second column of each CPU's line, hexadecimal: frames dropped because the backlog was full.
    lines = (_PROC / "net" / "softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


def cpus_of(cpuset: str | None) -> tuple[int, ...]:
    """The CPUs of a set; None means every CPU of the machine."""
    return tuple(range(os.cpu_count() or 1)) if cpuset is None else cpu_numbers(cpuset)


def cpu_seconds(before: HostSample, after: HostSample, cpus: tuple[int, ...], fields: tuple[str, ...]) -> float:
    """Seconds that these CPUs spent in these states between two samples."""
    return sum(after.cpus[cpu][field] - before.cpus[cpu][field] for cpu in cpus for field in fields)


def window_evidence(
    before: HostSample,
    after: HostSample,
    server_cpus: tuple[int, ...],
    client_cpus: tuple[int, ...],
    server_cpu_s: float,
) -> dict[str, Any]:
    """Shares (0 … 1) of the window, for the verdict and for the record.

    ``foreign_share`` is what other programs took of the server's CPUs: time in processes there (without soft
    interrupts, which belong to the server's packets) beyond the server's own ``server_cpu_s``.
    """
    seconds = (after.at_ns - before.at_ns) / 1e9
    every = tuple(before.cpus)
    apart = not set(server_cpus) & set(client_cpus)
    in_processes = cpu_seconds(before, after, server_cpus, ("user", "nice", "system"))
    busy = ("user", "nice", "system", "irq", "softirq", "steal")
    return {
        "window_s": seconds,
        "steal_share": cpu_seconds(before, after, every, ("steal",)) / (seconds * len(every)),
        "pressure_share": _share(before.pressure_s, after.pressure_s, seconds),
        "throttled_share": _share(before.throttled_s, after.throttled_s, seconds),
        "softnet_drops": after.softnet_drops - before.softnet_drops,
        "server_cpu_busy_share": cpu_seconds(before, after, server_cpus, busy) / (seconds * len(server_cpus)),
        "client_cpu_busy_share": cpu_seconds(before, after, client_cpus, busy) / (seconds * len(client_cpus)),
        "foreign_share": max(0.0, in_processes - server_cpu_s) / (seconds * len(server_cpus)) if apart else None,
    }


def _share(before_s: float | None, after_s: float | None, seconds: float) -> float | None:
    return None if before_s is None or after_s is None else (after_s - before_s) / seconds
