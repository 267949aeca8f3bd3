"""Reading control groups, of version 1 (``cpuacct``) and version 2: where they are mounted, what they have counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hierarchies:
    """Where the hierarchies are mounted. ``accounting`` counts CPU time; ``cpusets`` is None where there are none."""

    version: int
    accounting: Path
    cpusets: Path | None


def mounted(mounts: Path = Path("/proc/self/mounts")) -> Hierarchies | None:
    """The hierarchies of this machine, None if there are none that count CPU time."""
    one: dict[str, Path] = {}
    two: Path | None = None
    for line in mounts.read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup":
            one.update({option: Path(point) for option in options.split(",")})
        elif kind == "cgroup2":
            two = Path(point)
    if "cpuacct" in one:
        return Hierarchies(1, one["cpuacct"], one.get("cpuset"))
    return None if two is None else Hierarchies(2, two, None)


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


def _is_readable(group: str) -> bool:
    try:
        cpu_time_ns(group)
    except (OSError, KeyError, ValueError):
        return False
    return True
