"""What this machine's kernel can do, found by trying it in a network namespace that ends with the trial.

Nothing of the host changes. Where a trial is not possible the answer is "not known", never a guess.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.engine.measured import cpu_seconds, sample_host

_TRIAL_TIMEOUT_S = 10.0
_SYSCTLS = Path("/proc/sys")


@dataclass(frozen=True)
class Trial:
    """Whether the kernel did it (None: it could not be tried here), and what it said, in one line."""

    works: bool | None
    said: str


def netem() -> Trial:
    """A netem qdisc."""
    return _in_own_namespace("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")


def token_bucket() -> Trial:
    """A tbf qdisc."""
    words = ("qdisc", "add", "dev", "lo", "root", "tbf", "rate", "10mbit", "burst", "32kb", "latency", "50ms")
    return _in_own_namespace("tc", *words)


def packet_queue() -> Trial:
    """An iptables rule with the NFQUEUE target, through whichever iptables there is."""
    rule = ("-t", "raw", "-A", "PREROUTING", "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass")
    trial = Trial(None, "iptables is not installed")
    for program in ("iptables-legacy", "iptables"):
        if _find(program) is not None:
            trial = _in_own_namespace(program, *rule)
            if trial.works:
                return Trial(True, f"through {program}")
    return trial


def bridge_netfilter() -> bool | None:
    """Whether bridged frames walk the host's iptables; None where br_netfilter is not loaded (then they do not)."""
    path = _SYSCTLS / "net/bridge/bridge-nf-call-iptables"
    return path.read_text().strip() != "0" if path.exists() else None


def congestion_controls() -> tuple[list[str], list[str]]:
    """TCP congestion controls that the kernel has, and those that a container may choose among them."""
    folder = _SYSCTLS / "net/ipv4"
    names = ("tcp_available_congestion_control", "tcp_allowed_congestion_control")
    available, allowed = ((folder / name).read_text().split() for name in names)
    return available, allowed


def steal_share(seconds: float) -> float:
    """The share of CPU time that the hypervisor took away, watched for so long."""
    before = sample_host()
    time.sleep(seconds)
    after = sample_host()
    cpus = tuple(before.cpus)
    return cpu_seconds(before, after, cpus, ("steal",)) / ((after.at_ns - before.at_ns) / 1e9 * len(cpus))


def _in_own_namespace(program: str, *arguments: str) -> Trial:
    """Run a program in a network namespace of its own (as an ordinary user: in a user namespace too)."""
    path, unshare = _find(program), _find("unshare")
    if path is None or unshare is None:
        return Trial(None, f"{program if path is None else 'unshare'} is not installed")
    enter = [unshare, "-n"] if os.geteuid() == 0 else [unshare, "-r", "-n"]
    if _run([*enter, "true"]).returncode != 0:
        return Trial(None, "a network namespace needs root here")
    done = _run([*enter, path, *arguments])
    lines = done.stderr.strip().splitlines()
    return Trial(done.returncode == 0, lines[0] if lines and done.returncode != 0 else "")


def _find(program: str) -> str | None:
    # Administration programs are outside the PATH of ordinary users on Debian.
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_TIMEOUT_S, check=False)
