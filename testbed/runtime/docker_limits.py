"""How many descriptors an engine lets a container open when it is told nothing: a soft limit and a hard one."""

from __future__ import annotations

import re
from pathlib import Path

import docker

from testbed.errors import RuntimeFault
from testbed.runtime import docker_paths
from testbed.runtime.docker_process import run_program

_TIMEOUT_S = 20.0
_LINE = re.compile(r"^Max open files +(\d+) +(\d+) ", re.MULTILINE)


def open_files(api: docker.APIClient, container: str, node: str) -> tuple[int, int]:
    """The soft and the hard limit of a container that runs, which are those of every program that is started in it.

    An engine has no word for them. Raises RuntimeFault where they cannot be read.
    """
    pid = int(api.inspect_container(container)["State"]["Pid"])
    if not docker_paths.not_here(pid, container):
        found = _LINE.search(Path(f"/proc/{pid}/limits").read_text())
        if found is not None:
            return int(found[1]), int(found[2])
    done = run_program(api, container, f"limits of {node}", ["/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"], _TIMEOUT_S)
    words = done.stdout.split()
    if done.status != 0 or len(words) != 2 or not all(word.isdecimal() for word in words):
        raise RuntimeFault(f"limits of {node} cannot be read: {' '.join((done.stdout + done.stderr).split())}")
    return int(words[0]), int(words[1])
