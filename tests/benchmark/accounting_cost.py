"""What counting every system call costs, and what timing each costs on top: server CPU per reply, finely interleaved.

Three servers stand on one CPU: one that was built without counting system calls, waits and accepts (only for this), one
as it is, one with ``--profile``. A client on the other CPU takes them in turn, some hundred connections each, so drift
hits all alike.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np

from testbed.errors import EnvironmentLack, RunError
from tests.benchmark.outcome import Outcome
from tests.native.userver_process import IMAGES, Server, build, start

_SECONDS = 90
_CONNECTIONS = 300
_RESAMPLES = 2_000
_REQUEST = b"GET /1.bin HTTP/1.1\r\nUser-Agent: benchmark\r\nHost: 127.0.0.1\r\n\r\n"


def main() -> list[Outcome]:
    """The one-byte workload: one request a connection, and the client closes first."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise EnvironmentLack("server and client need a CPU each", "a machine with two CPUs")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        (Path(folder) / "1.bin").write_bytes(b"x")
        instructions = _counting_instructions(Path(folder))
        begin = functools.partial(start, "epoll-lt", docroot=Path(folder), wrapper=("taskset", "-c", str(cpus[0])))
        servers = {
            "uncounted": stack.enter_context(begin(binary=_build_uncounted())),
            "counted": stack.enter_context(begin(binary=build())),
            "profiled": stack.enter_context(begin(binary=build(), profile=True)),
        }
        stack.callback(os.sched_setaffinity, 0, cpus)
        os.sched_setaffinity(0, cpus[1:])
        costs: dict[str, list[float]] = {name: [] for name in servers}
        until = time.monotonic() + _SECONDS
        names = list(servers)
        while time.monotonic() < until:
            for name in names:
                costs[name].append(_cost_us(servers[name]))
            names = names[1:] + names[:1]
    for name, each in costs.items():
        print(f"{name}: {median(each):.2f} µs of CPU per reply", flush=True)
    return [
        _outcome("CPU per reply, counted ÷ not counted", costs["counted"], costs["uncounted"], 1.01),
        _outcome("CPU per reply, --profile ÷ counted", costs["profiled"], costs["counted"], 1.10),
        *instructions,
    ]


def _counting_instructions(folder: Path) -> list[Outcome]:
    """Instructions that counting adds to a reply: the same on every machine, however busy. Nothing without valgrind."""
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: instructions are not counted", flush=True)
        return []
    counted, uncounted = (_instructions(binary, folder) for binary in (build(), _build_uncounted()))
    print(f"{counted:,.0f} user instructions a reply, {uncounted:,.0f} without counting", flush=True)
    return [Outcome("user instructions a reply that count", counted - uncounted, "")]


def _instructions(binary: Path, folder: Path) -> float:
    """User instructions a reply: a longer life less a shorter one."""
    lives = []
    for connections in (50, 450):
        output = folder / "callgrind"
        wrapper = ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={output}")
        with start("epoll-lt", docroot=folder, binary=binary, wrapper=wrapper) as server:
            _ask(server, connections)
        found = re.search(r"^(?:summary|totals): (\d+)", output.read_text(), re.MULTILINE)
        if found is None:
            raise RunError("callgrind wrote no total")
        lives.append(int(found[1]))
    return (lives[1] - lives[0]) / 400


def _build_uncounted() -> Path:
    folder = Path("build") / "uncounted"
    command = ["make", "--no-print-directory", f"BUILD={folder}", "CFLAGS=-O2 -g -DACCOUNTING_OFF"]
    subprocess.run([*command, str(folder / "userver")], cwd=IMAGES, capture_output=True, timeout=300, check=True)
    return IMAGES / folder / "userver"


def _cost_us(server: Server) -> float:
    before = server.counters()
    _ask(server, _CONNECTIONS)
    after = server.counters()
    used = sum(after[key] - before[key] for key in ("cpu_user_us", "cpu_system_us"))
    return float(used) / _CONNECTIONS


def _ask(server: Server, connections: int) -> None:
    for _ in range(connections):
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(_REQUEST)
            connection.recv(4096)


def _outcome(name: str, over: list[float], under: list[float], goal: float) -> Outcome:
    """The median of the rounds' own ratios, printed with its 95 % bootstrap interval."""
    ratios = np.array(over) / np.array(under)
    draws = np.random.default_rng(1).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    print(f"{name}: {np.median(ratios):.4f} ({low:.4f} to {high:.4f}, {len(ratios)} rounds)", flush=True)
    return Outcome(name, float(np.median(ratios)), "×", goal, at_least=False)
