"""How long two idleconn sidecars need for 10,000 connections between them."""

from __future__ import annotations

from contextlib import ExitStack

from testbed.engine.lab import Lab
from testbed.engine.program import Program
from testbed.engine.under_test.base import PORT
from testbed.model.placed import PlacedNode
from tests.benchmark.outcome import Outcome
from tests.benchmark.world import server

_EACH = 5_000
_MECHANISMS = ("epoll-lt", "select")


def main() -> list[Outcome]:
    """Beside the fastest and the slowest mechanism: the server has to accept them all."""
    outcomes = []
    with Lab(name="bench-idle") as lab:
        for mechanism in _MECHANISMS:
            with ExitStack() as stack:
                stack.enter_context(server(lab, mechanism))
                programs = [
                    stack.enter_context(Program.start(lab, node.name, _command(lab, node))) for node in lab.idles
                ]
                ready = [program.expect("ready", 20) for program in programs]
            slowest = max(float(line["elapsed_ms"]) for line in ready)
            total = sum(int(line["established"]) for line in ready)
            outcomes.append(
                Outcome(f"{total:,} idle connections, {mechanism}", slowest / 1e3, "s", 1.0, at_least=False)
            )
    return outcomes


def _command(lab: Lab, node: PlacedNode) -> list[str]:
    own, target = lab.placed.gateway_of(node, lab.server)
    command = ["idleconn", "--target", target, "--port", str(PORT), "--connections", str(_EACH)]
    return [*command, "--hosts", str(node.emulated_prefix), "--interface", f"address:{own}"]
