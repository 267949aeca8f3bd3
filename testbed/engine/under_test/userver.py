"""The project's own µserver, with one event mechanism."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from testbed.engine.documents import FileSet, place_documents
from testbed.engine.lab import Lab
from testbed.engine.program import Line, Program
from testbed.engine.under_test.base import DOCUMENT_ROOT, KINDS, PORT, Running, Usage
from testbed.errors import ProgramError, RunError, UsageError
from testbed.model.scenario import Scenario
from testbed.model.server import Server, Userver

_TIMEOUT_S = 20.0


class _Running:
    port = PORT

    def __init__(self, program: Program, ready: Line) -> None:
        self.ready = ready
        self._program = program

    def usage(self) -> Usage:
        """It answers SIGUSR1 with all its counters."""
        self._program.drain()
        self._program.signal("USR1")
        counters = self._program.expect("interval", _TIMEOUT_S)
        return Usage(float(counters["cpu_user_us"] + counters["cpu_system_us"]), counters)

    def finish(self) -> Line:
        """Its summary."""
        return self._program.finish(_TIMEOUT_S, ask=True)


class UserverKind:
    """See ``Kind``."""

    def __init__(self) -> None:
        self._file_sets: dict[str, FileSet] = {}  # by lab, from prepare() to clean_up()

    def unavailable(self, lab: Lab, servers: tuple[Server, ...]) -> dict[str, str]:
        """Mechanisms that the program itself says the kernel or the engine's seccomp profile refuses."""
        done = lab.ask(lab.server.name, ["userver", "--list-mechs", "--probe"])
        if done.status != 0:
            raise RunError(f"userver cannot list its mechanisms: {done.stderr.strip()}")
        states = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line)
        refused = {}
        for server in cast("tuple[Userver, ...]", servers):
            if server.mechanism not in states:
                raise UsageError(f"unknown mechanism {server.mechanism!r}: one of {', '.join(states)}")
            if states[server.mechanism] != "ok":
                refused[server.label] = states[server.mechanism].removeprefix("unavailable: ")
        return refused

    def prepare(self, lab: Lab, scenario: Scenario, servers: tuple[Server, ...]) -> None:
        """Put the workload's documents into the server node. Raises UsageError for requests that it does not answer."""
        if beyond := scenario.workload.beyond_get:
            raise UsageError(
                f"{scenario.workload.name} sends {', '.join(beyond)}: the µserver answers GET and HEAD alone"
            )
        documents = scenario.documents()
        self._file_sets[lab.name] = place_documents(lab, lab.server.name, DOCUMENT_ROOT, documents)

    def clean_up(self, lab: Lab, servers: tuple[Server, ...]) -> None:
        """The documents stay for the next run."""
        self._file_sets.pop(lab.name, None)

    @contextmanager
    def start(self, lab: Lab, scenario: Scenario, server: Server) -> Iterator[Running]:
        """Listen on every address of the server node."""
        own = cast("Userver", server)
        # One listener for all addresses, as the paper's server has: a listener for each would double the backlog,
        # and with it the accepts that one call of select pays for.
        command = ["userver", "--mech", own.mechanism, "--bind", "0.0.0.0"]
        command += ["--port", str(PORT), "--docroot", DOCUMENT_ROOT, "--backlog", str(own.backlog)]
        command += ["--accept-limit", "inf" if own.accept_limit is None else str(own.accept_limit)]
        command += ["--max-connections", str(scenario.max_connections)]
        if own.profile:
            command.append("--profile")
        with Program.start(lab, lab.server.name, command) as program:
            ready = program.expect("ready", _TIMEOUT_S)
            _check_cached(ready, self._file_sets[lab.name])
            yield _Running(program, ready)


def _check_cached(ready: Line, expected: FileSet) -> None:
    """Raises ProgramError unless the whole file set is in the server's cache: else disks would be measured."""
    cached = FileSet(int(ready["cached_files"]), int(ready["cached_bytes"]))
    if cached != expected:
        raise ProgramError(
            f"the server caches {cached.files} files of {cached.bytes} bytes; "
            f"the workload has {expected.files} of {expected.bytes}"
        )


KINDS.register("userver", UserverKind())
