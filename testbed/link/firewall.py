"""The packet rules of a node's namespace: the engine's own go, and ours keeps a kernel out of what is not for it.

Docker's name server works by NAT rules inside each container's network namespace. They bring connection tracking and
four hooks along, through which every packet of every connection would go: some 10 % of the server's time. A lab has its
names in /etc/hosts and needs no name server, so the rules go, and their chains with them: empty ones are hooks still.

Frames for emulated hosts are read by a packet socket. The kernel of their node goes on with them all the same: it looks
up a socket and a route, makes a routing entry to say that nothing is to be done, and frees it later, many at a time,
while the clients wait for the CPU. Dropped before that, a load's p90 lateness near the limit falls by a third.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from testbed.errors import RuntimeFault
from testbed.link.enter import inside

_CLEAR = "*nat\n-F\n-X\nCOMMIT\n"
_EXEMPT = "*raw\n-A PREROUTING ! -i lo -j CT --notrack\n-A OUTPUT ! -o lo -j CT --notrack\nCOMMIT\n"
"""For the older x_tables, whose hooks stay for good once a table was used: then nothing is tracked, at least."""

_TIMEOUT_S = 20


def clear(namespace: str) -> str:
    """Take the NAT rules out of a node's namespace; "", or why it could not be done."""
    return _in_time(lambda: _cleared(namespace))


def ignore(namespace: str, prefix: str) -> str:
    """Let the kernel of a namespace drop unread what comes for a prefix; "", or why it could not be done.

    Packet sockets still see it.
    """
    program = shutil.which("iptables")
    if program is None:
        return "iptables is not installed"
    command = [program, "-w", "10", "-t", "raw", "-A", "PREROUTING", "-d", prefix, "-j", "DROP"]
    return _in_time(lambda: inside(namespace, lambda: _first_fault([command], "")))


def _in_time(action: Callable[[], str]) -> str:
    try:
        return action()
    except subprocess.TimeoutExpired as error:
        return f"{error.cmd[0]} has not ended after {_TIMEOUT_S} s"
    except RuntimeFault as fault:
        return str(fault)


def _cleared(namespace: str) -> str:
    program = shutil.which("iptables")
    restore = shutil.which("iptables-restore")
    if program is None or restore is None:
        return "iptables is not installed"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if "nf_tables" in version.stdout:
        commands = [[program, "-w", "10", "-t", "nat", verb] for verb in ("-F", "-X")]
        return inside(namespace, lambda: _first_fault(commands, ""))
    return inside(namespace, lambda: _first_fault([[restore, "-w", "10", "--noflush"]], _CLEAR + _EXEMPT))


def _first_fault(commands: list[list[str]], stdin: str) -> str:
    for command in commands:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            process_group=0,  # a terminal's Ctrl-C does not end it half-way
        )
        if done.returncode != 0:
            return done.stderr.strip().replace("\n", " ")
    return ""
