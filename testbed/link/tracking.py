"""Connection tracking, kept away from the lab's packets.

Docker's name server works by NAT rules inside each container's own network namespace, and NAT rules bring connection
tracking along: every packet of every connection would be looked up and recorded there, some 10 % of the server's time.
Packets on any interface but the loopback are exempted; names are still resolved.
"""

from __future__ import annotations

import shutil
import subprocess

from testbed.link.enter import inside

_RULES = """*raw
-A PREROUTING ! -i lo -j CT --notrack
-A OUTPUT ! -o lo -j CT --notrack
COMMIT
"""
_TIMEOUT_S = 10


def exempt(namespace: str) -> str:
    """Exempt a namespace's packets from connection tracking; "", or why it could not be done."""
    program = shutil.which("iptables-restore")
    if program is None:
        return "iptables-restore is not installed"
    done = inside(
        namespace,
        lambda: subprocess.run(
            [program, "--noflush"], input=_RULES, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        ),
    )
    return "" if done.returncode == 0 else done.stderr.strip().replace("\n", " ")
