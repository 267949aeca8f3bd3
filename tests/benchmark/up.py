"""How long ``testbed up`` of the whole default world takes, as a user sees it, and what the engine alone takes.

The floor is the engine's own work: as many bare containers, started at once on two networks, with no option set and
nothing done to them afterwards. Both alternate, for an engine's speed is the machine's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median

from testbed.errors import RunError
from testbed.runtime.docker_images import BASE_IMAGE
from testbed.topology.default import default_topology
from tests.benchmark.outcome import Outcome

_TIMES = 5
_LAB = "bench-up"
_BARE = "testbed-bench-bare"
"""Begins the names of the bare containers and networks."""


def main() -> list[Outcome]:
    """Whole commands, interpreter start included."""
    topology = default_topology()
    nodes, networks = len(topology.nodes), len(topology.networks)
    ups, downs, floors = [], [], []
    for _ in range(_TIMES):
        ups.append(_timed("up"))
        downs.append(_timed("down"))
        floors.append(_bare_start_s(nodes, networks))
        print(f"up {ups[-1]:.2f} s, down {downs[-1]:.2f} s, bare containers {floors[-1]:.2f} s", flush=True)
    ratio = median(up / floor for up, floor in zip(ups, floors, strict=True))
    return [
        Outcome(f"testbed up, median of {_TIMES}", median(ups), "s", 2.0, at_least=False),
        Outcome(f"testbed down, median of {_TIMES}", median(downs), "s"),
        Outcome(f"the engine alone: docker run of {nodes} bare containers, all at once", median(floors), "s"),
        Outcome("testbed up ÷ the engine alone", ratio, "×"),
    ]


def _timed(verb: str) -> float:
    command = [sys.executable, "-m", "testbed.cli", verb, "--lab", _LAB]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"testbed {verb} failed: {done.stderr.strip()}")
    return time.monotonic() - began


def _bare_start_s(nodes: int, networks: int) -> float:
    """Seconds for the networks and then for all containers at once, by the engine's own command."""
    with _removed_afterwards(nodes, networks):
        began = time.monotonic()
        for number in range(networks):
            _docker("network", "create", f"{_BARE}{number}")
        with ThreadPoolExecutor(nodes) as pool:
            list(pool.map(lambda number: _run_bare(number, f"{_BARE}{number % networks}"), range(nodes)))
        return time.monotonic() - began


def _run_bare(number: int, network: str) -> None:
    _docker("run", "--detach", "--name", f"{_BARE}-{number}", "--network", network, BASE_IMAGE, "sleep", "600")


@contextmanager
def _removed_afterwards(nodes: int, networks: int) -> Iterator[None]:
    try:
        yield
    finally:
        containers = [f"{_BARE}-{number}" for number in range(nodes)]
        subprocess.run(["docker", "rm", "--force", *containers], capture_output=True, check=False)
        for number in range(networks):
            subprocess.run(["docker", "network", "rm", f"{_BARE}{number}"], capture_output=True, check=False)


def _docker(*words: str) -> None:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"docker {words[0]} failed: {done.stderr.strip()}")
