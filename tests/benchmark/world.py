"""What the benchmarks share: one load against one server in a lab, and host programs inside a node's network."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import docker

from testbed.awake import awake
from testbed.engine.lab import Lab
from testbed.engine.point import towards
from testbed.engine.program import Line, Program
from testbed.engine.under_test.base import PORT
from testbed.errors import EnvironmentLack
from testbed.model.placed import PlacedNode

DOCUMENTS = {"1.bin": b"x"}
_START_S = 0.4


@dataclass(frozen=True)
class Load:
    """What one loadgen is told."""

    rate_per_s: float
    window_s: float = 2.0
    warm_up_s: float = 0.5
    timeout_s: float = 1.0
    seed: int = 1


def server(lab: Lab, mechanism: str = "epoll-lt", *flags: str) -> Program:
    """A µserver on all of the server's addresses, ready to serve ``/1.bin``."""
    lab.put_files(lab.server.name, "/srv", DOCUMENTS)
    command = ["userver", "--mech", mechanism, "--bind", "0.0.0.0", "--port", str(PORT), "--docroot", "/srv"]
    program = Program.start(lab, lab.server.name, [*command, *flags])
    program.expect("ready", 10)
    return program


def offer(lab: Lab, node: PlacedNode, load: Load, *flags: str) -> Line:
    """Run one loadgen to its end, with more ``flags``; returns its summary."""
    start_ns = time.monotonic_ns() + int(_START_S * 1e9)
    command = ["loadgen", *towards(lab, node, PORT), "--uri", "/1.bin"]
    command += ["--rate", str(load.rate_per_s), "--arrival", "exponential"]
    command += ["--warm-up", f"{load.warm_up_s}s", "--window", f"{load.window_s}s", "--timeout", f"{load.timeout_s}s"]
    command += ["--start-at", str(start_ns), "--seed", str(load.seed), *flags]
    with awake(), Program.launch(lab, node.name, command, first=True) as program:
        return program.finish(load.warm_up_s + load.window_s + load.timeout_s + 15, ask=False)


def inside(lab: Lab, node: PlacedNode, command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine in a node's network, on the node's CPUs. Needs root and the docker runtime."""
    if lab.runtime.name != "docker":
        raise EnvironmentLack("the classical clients are run in containers' networks", "use the docker runtime")
    labels = [f"testbed.lab={lab.name}", f"testbed.node={node.name}"]
    (container,) = docker.from_env().containers.list(filters={"label": labels})
    container.reload()
    pid = container.attrs["State"]["Pid"]
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "taskset", "-c", node.cpuset or "0"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=timeout_s, check=False)
