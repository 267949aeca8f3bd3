"""How long two idleconn sidecars need for 10,000 connections between them."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from testbed.engine.lab import Lab
from testbed.engine.point import towards
from testbed.engine.program import Program
from testbed.engine.under_test.base import PORT
from testbed.errors import RunError
from tests.benchmark.outcome import Outcome
from tests.benchmark.world import server

_EACH = 5_000
_TIMES = 3
_MECHANISMS = ("epoll-lt", "select")


def main() -> list[Outcome]:
    """Beside the fastest and the slowest mechanism, in turns: the server has to accept them all."""
    taken_s: dict[str, list[float]] = {mechanism: [] for mechanism in _MECHANISMS}
    with Lab(name="bench-idle") as lab:
        for _ in range(_TIMES):
            for mechanism in _MECHANISMS:
                taken_s[mechanism].append(_fill_s(lab, mechanism))
                print(f"{mechanism}: {taken_s[mechanism][-1]:.2f} s", flush=True)
        total = f"{_EACH * len(lab.idles):,} idle connections"
    return [
        Outcome(f"{total}, {mechanism}, median of {_TIMES}", median(each), "s", 1.0, at_least=False)
        for mechanism, each in taken_s.items()
    ]


def _fill_s(lab: Lab, mechanism: str) -> float:
    """Until the slower of the sidecars has all its connections."""
    with ExitStack() as stack:
        stack.enter_context(server(lab, mechanism))
        commands = [["idleconn", *towards(lab, node, PORT), "--connections", str(_EACH)] for node in lab.idles]
        programs = [
            stack.enter_context(Program.start(lab, node.name, command))
            for node, command in zip(lab.idles, commands, strict=True)
        ]
        ready = [program.expect("ready", 20) for program in programs]
    if any(int(line["established"]) != _EACH for line in ready):
        raise RunError(f"{mechanism}: idleconn was ready without all its connections")
    return max(float(line["elapsed_ms"]) for line in ready) / 1e3
