"""Control groups made for nodes: what counts a node's CPU time, what binds it to its CPUs, what finds its processes.

Version 1 (``cpuacct``, and ``cpuset`` where mounted) and version 2 are both served. Nothing outside our own folder of
each hierarchy is changed: version 2 binds by cpusets only where its top group hands them on already.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from testbed.errors import EnvironmentLack
from testbed.runtime import control_groups
from testbed.runtime.control_groups import Hierarchies

_OURS = "testbed"
_TOOLS = ".tools"
"""The name of no node. In version 2 a group that hands controllers on has no processes of its own."""

_FIX = "as root outside a container: mount -t cgroup2 none /sys/fs/cgroup"


def find_hierarchies(mounts: Path = Path("/proc/self/mounts")) -> Hierarchies:
    """The hierarchies of this machine. Raises EnvironmentLack where there is none that we may write."""
    found = control_groups.mounted(mounts)
    if found is None:
        raise EnvironmentLack("no control groups are mounted: the CPU time of a node cannot be read", _FIX)
    if not os.access(found.accounting, os.W_OK):
        raise EnvironmentLack(f"control groups cannot be made: {found.accounting} is read-only", _FIX)
    return found


def make_lab_group(hierarchies: Hierarchies, lab: str) -> str:
    """The group of a lab, for tools that make parts of it: removing the lab ends them too if their maker was killed."""
    group = hierarchies.accounting / _OURS / lab / _TOOLS
    group.mkdir(parents=True, exist_ok=True)
    return str(group)


def make_groups(hierarchies: Hierarchies, lab: str, node: str, cpuset: str | None) -> tuple[str, ...]:
    """The groups of a node: a process of it joins all of them. The first one counts its CPU time."""
    group = hierarchies.accounting / _OURS / lab / node
    group.mkdir(parents=True, exist_ok=True)
    if cpuset is None or hierarchies.cpusets is None:
        return (str(group),)
    if hierarchies.version == 2:
        for above in (group.parent.parent, group.parent):
            (above / "cgroup.subtree_control").write_text("+cpuset")
        (group / "cpuset.cpus").write_text(cpuset)
        return (str(group),)
    return str(group), str(_cpuset_group(hierarchies.cpusets, lab, node, cpuset))


def processes(hierarchies: Hierarchies, lab: str, node: str = "") -> set[int]:
    """All processes in the groups of a lab, or of one node."""
    found: set[int] = set()
    for top in _tops(hierarchies, lab, node):
        for path in top.rglob("cgroup.procs"):
            try:
                found.update(int(text) for text in path.read_text().split())
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):  # the group went away meanwhile
                    raise
    return found - {0}


def remove_groups(hierarchies: Hierarchies, lab: str, node: str = "") -> bool:
    """Remove the groups of a lab, and our folder with the last lab, or those of one node.

    False while a process that is ending still holds one.
    """
    for top in _tops(hierarchies, lab, node):
        groups = sorted((path.parent for path in top.rglob("cgroup.procs")), key=lambda path: -len(path.parts))
        if not all(_remove_group(group) for group in groups):
            return False
        if not node:
            _remove_group(top.parent)  # busy as long as another lab is in it
    return True


def _remove_group(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _tops(hierarchies: Hierarchies, lab: str, node: str) -> Sequence[Path]:
    tops = {path / _OURS / lab / node for path in (hierarchies.accounting, hierarchies.cpusets) if path is not None}
    return sorted(path for path in tops if path.exists())


def _cpuset_group(mounted: Path, lab: str, node: str, cpuset: str) -> Path:
    """In version 1 a new group has no CPUs and no memory nodes: each level takes its parent's first."""
    group = mounted
    for name in (_OURS, lab, node):
        parent, group = group, group / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if not (group / setting).read_text().strip():
                (group / setting).write_text((parent / setting).read_text())
    (group / "cpuset.cpus").write_text(cpuset)
    return group
