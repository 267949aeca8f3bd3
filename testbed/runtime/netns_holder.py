"""What keeps a node alive, and the way into it: util-linux's unshare and nsenter, and no program of ours.

A node is a network namespace plus namespaces of mounts, processes, IPC and host name. The first process in them, the
holder, sleeps; when it is killed the kernel ends every other process of the node. The node sees the machine's own
file system, read-only or through a layer of its own that takes what it writes, with its own /proc, /sys, /dev, /run and
what the topology makes a tmpfs.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.model.placed import PlacedNode

PROGRAMS = "/run/testbed/programs"
"""Where a node finds the project's programs, wherever the project is on the machine."""

SEARCH_PATH = f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_TIMEOUT_S = 20.0
_OWN_SYSCTLS = ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "kernel.domainname")
"""Settings that belong to a namespace of the node. Any other would change the whole machine."""

_DEFAULT_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
}
"""As container engines set them: a server without capabilities may listen on port 80, and nothing speaks IPv6."""

_DEFAULT_CAPABILITIES = {
    *("chown", "dac_override", "fsetid", "fowner", "mknod", "net_raw", "setgid", "setuid", "setfcap", "setpcap"),
    *("net_bind_service", "sys_chroot", "kill", "audit_write"),
}
"""What container engines leave to a program whose node drops less than ALL."""

_JOIN = """
count=$1 limit=$2; shift 2
while [ "$count" -gt 0 ]; do echo 0 > "$1/cgroup.procs"; shift; count=$((count - 1)); done
ulimit -n "$limit"
exec "$@"
"""
"""Enters control groups, sets the limit of descriptors, and becomes the command that follows."""

_FOLDERS = ("/usr", "/usr/local", "/etc", "/var", "/opt", "/home", "/root")
"""Seen in a node also where they are file systems of their own."""

_FIRST_CHILD = '"$@" & echo $!'
"""The first child after ``unshare --pid`` is process 1 of the new namespace; its number out here is what we print."""

_SET_UP = """
set -eu
root=$1 programs=$2 hosts=$3 name=$4 capabilities=$5 access=$6; shift 6
if [ "$access" = writable ]; then
    mount -t tmpfs tmpfs "$root"
    mkdir "$root/upper" "$root/work" "$root/merged"
    mount -t overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" overlay "$root/merged"
    root=$root/merged
else
    mount -o bind,ro / "$root"
fi
for item; do
    case $item in folder:*) mount -o bind,ro "${item#folder:}" "$root${item#folder:}" ;; esac
done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/testbed/programs" "$root/run/machine"
mount -o bind,ro "$programs" "$root/run/testbed/programs"
mount -o bind,ro "$hosts" "$root/etc/hosts"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -o remount,bind,ro "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for item; do
    case $item in tmpfs:*)
        item=${item#tmpfs:}
        folder=$root${item%%:*} options=${item#"${item%%:*}"}
        [ -d "$folder" ] || mkdir -p "$folder"
        mount -t tmpfs -o "mode=1777${options:+,${options#:}}" tmpfs "$folder" ;;
    esac
done
pivot_root "$root" "$root/run/machine"
cd /
umount -l /run/machine
rmdir /run/machine
printf %s "$name" > /proc/sys/kernel/hostname
for item; do
    case $item in sysctl:*)
        setting=${item#sysctl:}
        printf %s "${setting#*=}" > "/proc/sys/${setting%%=*}" ;;
    esac
done
for path in /proc/sys /proc/sysrq-trigger; do
    [ -e "$path" ] || continue
    mount -o bind,ro "$path" "$path"
done
setpriv --no-new-privs --bounding-set="$capabilities" --inh-caps=-all true
echo ready
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all sleep infinity > /dev/null 2>&1
"""
"""Run as process 1 of the node, still with all capabilities; becomes the holder.

A new root instead of mounts over the old one: what the machine has mounted (other namespaces, an engine's layers) would
else stay busy for as long as the node lives. The old root is left behind by pivot_root, not hidden.
"""

_TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "taskset": "util-linux",
    "pivot_root": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "tar": "tar",
}


def check_tools() -> None:
    """Raises EnvironmentLack that names the packages which this machine lacks."""
    missing = [name for name in _TOOLS if find_tool(name) is None]
    if missing:
        packages = " ".join(sorted({_TOOLS[name] for name in missing}))
        raise EnvironmentLack(f"{', '.join(missing)}: not installed", f"apt-get install {packages}")


def find_tool(name: str) -> str | None:
    """The path of an administration program, which may lie outside the PATH of this process."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")


def start_holder(
    placed: PlacedNode, namespace: str, groups: Sequence[str], root: Path, programs: Path, hosts: Path
) -> tuple[int, int]:
    """Start the holder of a node in a network namespace that stands; returns its number and its start time.

    ``root`` is an empty folder, ``hosts`` the node's /etc/hosts. Raises RuntimeFault with the kernel's words.
    """
    node = placed.node
    items = [f"folder:{path}" for path in _FOLDERS if os.path.ismount(path)]
    items += [f"tmpfs:{item}" for item in node.tmpfs]
    items += [f"sysctl:{_setting_path(node.name, key)}={value}" for key, value in _settings(placed).items()]
    facts = [str(root), str(programs), str(hosts), node.name, _capabilities(placed)]
    access = "read-only" if node.read_only else "writable"
    inside = ["sh", "-c", _SET_UP, "testbed", *facts, access, *items]
    unshare = ["unshare", "--mount", "--pid", "--ipc", "--uts", "sh", "-c", _FIRST_CHILD, "testbed", *inside]
    enter = ["nsenter", f"--net=/run/netns/{namespace}", *unshare]
    command = _joining(groups, placed.cpuset, _limit(node.nofile), enter)
    done = subprocess.Popen(
        command,
        env={"PATH": SEARCH_PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complained = done.communicate(timeout=_START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(done.pid, signal.SIGKILL)
        done.communicate()
        raise RuntimeFault(f"node {node.name!r} is not ready after {_START_TIMEOUT_S:g} s") from None
    words = said.split()
    if len(words) != 2 or words[1] != "ready":
        reason = "; ".join(complained.strip().splitlines()) or f"status {done.returncode}"
        raise RuntimeFault(f"node {node.name!r} cannot be made: {reason}")
    number = int(words[0])
    return number, start_time(number)


def entering(holder: tuple[int, int], placed: PlacedNode, groups: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` in a node, with the node's capabilities and no way to more."""
    enter = ["nsenter", f"--target={holder[0]}", "--mount", "--pid", "--ipc", "--uts", "--net", "--"]
    drop = ["setpriv", "--no-new-privs", f"--bounding-set={_capabilities(placed)}", "--inh-caps=-all", "--"]
    return _joining(groups, placed.cpuset, _limit(placed.node.nofile), [*enter, *drop, *command])


def environment(placed: PlacedNode) -> dict[str, str]:
    """The environment of every program of a node."""
    return {"PATH": SEARCH_PATH, "HOME": "/root", "HOSTNAME": placed.name, **placed.node.environment}


def start_time(number: int) -> int:
    """When a process started, in clock ticks since boot; -1 if there is none of that number, or only its remains."""
    try:
        # The name in parentheses may itself have spaces and parentheses: count from the last one.
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if fields[0] in "ZX" else int(fields[19])


def alive(holder: tuple[int, int] | None) -> bool:
    """Whether a recorded holder still runs, and is the same process."""
    return holder is not None and start_time(holder[0]) == holder[1]


def in_namespaces(names: Sequence[str]) -> set[int]:
    """All processes whose network namespace is one of these, whoever started them."""
    wanted = set()
    for name in names:
        path = Path("/run/netns") / name
        if path.exists():
            facts = path.stat()
            wanted.add((facts.st_dev, facts.st_ino))
    found = set()
    for number in psutil.pids() if wanted else ():
        try:
            facts = os.stat(f"/proc/{number}/ns/net")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile
        if (facts.st_dev, facts.st_ino) in wanted:
            found.add(number)
    return found - {os.getpid()}


def kill(numbers: set[int]) -> None:
    """End processes at once."""
    for number in numbers:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue


def check_node(placed: PlacedNode, programs: Path) -> None:
    """Raises UsageError or EnvironmentLack for a node that this runtime cannot make as it is declared."""
    node = placed.node
    for item in node.tmpfs:
        folder = item.partition(":")[0]
        if not folder.startswith("/"):
            raise UsageError(f"node {node.name!r}: tmpfs {folder!r} is not an absolute path")
        if node.read_only and not Path(folder).is_dir():
            raise UsageError(
                f"node {node.name!r}: tmpfs {folder}: without an engine the node sees this machine's files, "
                "which have no such folder to put it over: make it, or set read_only: false"
            )
    for key in node.sysctls:
        _setting_path(node.name, key)
    if node.seccomp not in (None, "unconfined"):
        raise UsageError(
            f"node {node.name!r}: seccomp profiles need the docker runtime; without an engine none applies"
        )
    _limit(node.nofile)
    if not programs.is_dir():
        raise EnvironmentLack(f"the programs are not built: there is no {programs}", "make -C images")


def _joining(groups: Sequence[str], cpuset: str | None, limit: int, command: Sequence[str]) -> list[str]:
    pinned = ["taskset", "-c", cpuset, *command] if cpuset is not None else list(command)
    return ["/bin/sh", "-c", _JOIN, "testbed", str(len(groups)), str(limit), *groups, *pinned]


def _capabilities(placed: PlacedNode) -> str:
    """What programs of the node may do, as setpriv spells it."""
    dropped = {_bare(name) for name in placed.node.cap_drop}
    kept = set() if "all" in dropped else _DEFAULT_CAPABILITIES - dropped
    added = {_bare(name) for name in placed.node.cap_add}
    return ",".join(["-all", *(f"+{name}" for name in sorted(kept | added))])


def _bare(capability: str) -> str:
    return capability.lower().removeprefix("cap_")


def _settings(placed: PlacedNode) -> dict[str, str]:
    """The sysctls of a node: an engine's defaults, then its own."""
    known = {
        key: value for key, value in _DEFAULT_SYSCTLS.items() if Path(f"/proc/sys/{key.replace('.', '/')}").exists()
    }
    return {**known, **placed.node.sysctls}


def _setting_path(node: str, key: str) -> str:
    if not key.startswith(_OWN_SYSCTLS) or "/" in key or ".." in key:
        raise UsageError(f"node {node!r}: sysctl {key} is not a namespace's own: it would change the whole machine")
    return key.replace(".", "/")


def _limit(nofile: int | None) -> int:
    """The limit of descriptors: as declared, else this process's own hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if nofile is None:
        return hard
    if nofile > hard:
        raise EnvironmentLack(f"a node wants {nofile} descriptors, and this process may give {hard}", "ulimit -Hn")
    return nofile
