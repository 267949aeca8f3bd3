"""Facts about the machine that a reader of results needs: kernel, CPU, mitigations, settings that move the numbers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from testbed.awake import awake

_SETTINGS = (
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.bridge.bridge-nf-call-iptables",
    "net.netfilter.nf_conntrack_max",
    "fs.file-max",
    "fs.aio-max-nr",
)
_MITIGATIONS = Path("/sys/devices/system/cpu/vulnerabilities")


def host_facts() -> dict[str, Any]:
    """What this machine is. A fact that the kernel does not show is None: absent is not the same as unknown.

    ``idle_states``: "held off" if its CPUs do not sleep while a point is measured, else why they do.
    """
    with awake() as why_not:
        idle_states = why_not or "held off"
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu_model": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_kib": _memory_kib(),
        "virtualised": "hypervisor" in _cpu_flags(),
        "mitigations": {path.name: path.read_text().strip() for path in sorted(_MITIGATIONS.glob("*"))},
        "settings": {name: _setting(name) for name in _SETTINGS},
        "idle_states": idle_states,
        "load_average": os.getloadavg()[0],
    }


def _setting(name: str) -> str | None:
    # Only the dots between folders are separators: bridge-nf-call-iptables keeps its dashes.
    path = Path("/proc/sys") / name.replace(".", "/")
    return path.read_text().strip() if path.exists() else None


def _cpuinfo(field: str) -> str | None:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == field:
            return value.strip()
    return None


def _cpu_model() -> str | None:
    return _cpuinfo("model name")


def _cpu_flags() -> list[str]:
    return (_cpuinfo("flags") or "").split()


def _memory_kib() -> int | None:
    path = Path("/proc/meminfo")
    return int(path.read_text().split("MemTotal:", 1)[1].split()[0]) if path.exists() else None
