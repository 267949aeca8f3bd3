"""The contract of a kind of server, and the registry of kinds."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from testbed.engine.lab import Lab
from testbed.engine.program import Line
from testbed.model.scenario import Scenario
from testbed.model.server import Server
from testbed.registry import Registry

DOCUMENT_ROOT = "/srv"
"""Where the server node has the workload's documents (a tmpfs, ``compose.yaml``)."""

PORT = 80
"""Where the µserver listens."""


@dataclass(frozen=True)
class Usage:
    """What a server has used since it started: CPU time in µs, and its own counters ({} if it has none)."""

    cpu_us: float
    counters: Line


class Running(Protocol):
    """A server as it runs. ``ready`` is what it said of itself at its start ({} if it says nothing)."""

    port: int
    ready: Line

    def usage(self) -> Usage:
        """Now. Called at both edges of the window, so it must be cheap."""
        ...

    def finish(self) -> Line:
        """End it; its last counters ({} if it has none). Raises ProgramError if it had not stood until now."""
        ...


class Kind(Protocol):
    """One kind of server."""

    def unavailable(self, lab: Lab, servers: tuple[Server, ...]) -> dict[str, str]:
        """Those of the servers that cannot run here: label → reason. Raises UsageError for what does not exist."""
        ...

    def prepare(self, lab: Lab, scenario: Scenario, servers: tuple[Server, ...]) -> None:
        """Once per run, before the first point."""
        ...

    def clean_up(self, lab: Lab, servers: tuple[Server, ...]) -> None:
        """Once per run, at its end, however it ends: take away what ``prepare`` added to the lab."""
        ...

    def start(self, lab: Lab, scenario: Scenario, server: Server) -> AbstractContextManager[Running]:
        """A fresh process that is ready to serve; leaving the context ends what still runs."""
        ...


KINDS: Registry[Kind] = Registry("kind of server", "testbed.engine.under_test")


def by_kind(servers: tuple[Server, ...]) -> list[tuple[Kind, tuple[Server, ...]]]:
    """The servers of a scenario, each kind's together."""
    names = dict.fromkeys(server.kind for server in servers)
    return [(KINDS.get(name), tuple(server for server in servers if server.kind == name)) for name in names]
