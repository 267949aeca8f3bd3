"""Reading control groups, of version 1 (``cpu``, ``cpuacct``) and version 2: where they are mounted, what they have
counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Hierarchies:
    """Where the hierarchies are mounted. ``accounting`` counts CPU time; ``cpusets`` is None where there are none."""

    version: int
    accounting: Path
    cpusets: Path | None


def mounted(mounts: Path = Path("/proc/self/mounts")) -> Hierarchies | None:
    """The hierarchies of this machine, None if there are none that count CPU time."""
    one, two = _mounts(mounts)
    if "cpuacct" in one:
        return Hierarchies(1, one["cpuacct"], one.get("cpuset"))
    if two is None:
        return None
    return Hierarchies(2, two, two if "cpuset" in enabled(two) else None)


def enabled(group: Path) -> list[str]:
    """The controllers that a group of version 2 hands on to the groups in it."""
    try:
        return (group / "cgroup.subtree_control").read_text().split()
    except OSError:
        return []


def _mounts(mounts: Path) -> tuple[dict[str, Path], Path | None]:
    """Where each controller of version 1 is mounted, and where version 2 is."""
    one: dict[str, Path] = {}
    two: Path | None = None
    for line in mounts.read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup":
            one.update({option: Path(point) for option in options.split(",")})
        elif kind == "cgroup2":
            two = Path(point)
    return one, two


def container_group(pid: int, container: str, proc: Path = Path("/proc")) -> str | None:
    """The group that counts the CPU time of a container, whose first process this is and whose id the group's name has.

    None where it cannot be read: the engine is on another machine, or this program in a container itself.
    """
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
        found = mounted(proc / "self" / "mounts")
    except OSError:
        return None
    if found is None:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        counts = "cpuacct" in controllers.split(",") if found.version == 1 else not controllers
        whole, named, _ = path.partition(container)
        if counts and named:
            # In version 2 a first process that manages groups itself may stand in one below the container's.
            inside = path[len(whole) + len(named) :].split("/", 1)[0]
            group = str(found.accounting) + whole + named + inside
            return group if _is_readable(group) else None
    return None


def cpu_time_ns(group: str) -> int:
    """CPU time that the processes of a group have used since it was made."""
    usage = Path(group) / "cpuacct.usage"
    if usage.exists():
        return int(usage.read_text())
    stat = dict(line.split() for line in (Path(group) / "cpu.stat").read_text().splitlines())
    return int(stat["usage_usec"]) * 1000


def throttled_s(proc: Path = Path("/proc")) -> float | None:
    """For how long a quota has stopped this program's group and those around it, in all; None where none can be read.

    The outermost that is seen is what a container or a machine's slice may do with all that runs in it.
    """
    found = [_throttled_s(file) for file in _quota_files(proc) if file.exists()]
    return sum(found) if found else None


@cache
def _quota_files(proc: Path) -> tuple[Path, ...]:
    """Where the groups around this program tell of their quotas. A group without one tells 0, the outermost nothing."""
    one, two = _mounts(proc / "self" / "mounts")
    mount = one.get("cpu", two)
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if mount is not None and ("cpu" in controllers.split(",") if "cpu" in one else not controllers):
            own = mount / path.lstrip("/")
            return tuple(group / "cpu.stat" for group in (own, *own.parents) if group.is_relative_to(mount))
    return ()


def _throttled_s(file: Path) -> float:
    stat = dict(line.split() for line in file.read_text().splitlines())
    return int(stat.get("throttled_usec", 0)) / 1e6 + int(stat.get("throttled_time", 0)) / 1e9


def _is_readable(group: str) -> bool:
    try:
        cpu_time_ns(group)
    except (OSError, KeyError, ValueError):
        return False
    return True
