"""Anyone's server, from an image or a Dockerfile: everything but the counters works for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from testbed.engine.documents import must_fit
from testbed.engine.lab import Lab
from testbed.engine.point import towards
from testbed.engine.program import Line, Program
from testbed.engine.under_test.base import KINDS, Running, Usage
from testbed.errors import ProgramError, RunError
from testbed.model.placed import PlacedNode
from testbed.model.scenario import Scenario
from testbed.model.server import Server, ServerImage
from testbed.model.topology import Node
from testbed.runtime.base import Process

_STOP_TIMEOUT_S = 5.0
_READY_PAUSE_S = 0.1
_ASKING_TIMEOUT_S = 20.0


def _node_name(server: ServerImage) -> str:
    return f"image-{server.name}"


class _Running:
    def __init__(self, lab: Lab, server: ServerImage, process: Process) -> None:
        self.port = server.port
        self.ready: Line = {}
        self._lab = lab
        self._node = _node_name(server)
        self._process = process

    def usage(self) -> Usage:
        """CPU time of the whole container: a server may be many processes."""
        return Usage(self._lab.runtime.cpu_time_ns(self._lab.name, self._node) / 1e3, {})

    def finish(self) -> Line:
        """It must still have been serving."""
        if _status(self._process) is not None:
            raise ProgramError(f"the server in {self._node} ended during the point: {_last_words(self._process)}")
        return {}


class ImageKind:
    """See ``Kind``."""

    def unavailable(self, lab: Lab, servers: tuple[Server, ...]) -> dict[str, str]:
        """All of them without an engine. An image that is not there fails by name in ``prepare``."""
        if not lab.runtime.has_images:
            reason = f"a server from an image needs a runtime with images (docker): {lab.runtime.name} has none"
            return {server.label: reason for server in servers}
        return {}

    def prepare(self, lab: Lab, scenario: Scenario, servers: tuple[Server, ...]) -> None:
        """One container for each, in the server node's network and on its CPUs, with the documents on a tmpfs."""
        documents = scenario.documents()
        for server in cast("tuple[ServerImage, ...]", servers):
            node = Node(
                name=_node_name(server),
                image=server.image or str(server.dockerfile_folder),
                build=None if server.dockerfile_folder is None else str(server.dockerfile_folder.resolve()),
                environment=server.environment,
                cap_add=("CHOWN", "DAC_OVERRIDE", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"),
                tmpfs=(server.documents,),
                read_only=False,
                shares_network_of=lab.server.name,
            )
            lab.add(PlacedNode(node=node, addresses={}, cpuset=lab.server.cpuset))
            must_fit(lab, node.name, server.documents, documents)
            lab.put_files(node.name, server.documents, documents)

    def clean_up(self, lab: Lab, servers: tuple[Server, ...]) -> None:
        """Remove the containers."""
        for server in cast("tuple[ServerImage, ...]", servers):
            lab.discard(_node_name(server))

    @contextmanager
    def start(self, lab: Lab, scenario: Scenario, server: Server) -> Iterator[Running]:
        """Run its command and wait until it answers."""
        own = cast("ServerImage", server)
        process = lab.start(_node_name(own), own.command)
        try:
            _await_ready(lab, own, process)
            yield _Running(lab, own, process)
        except BaseException:
            with suppress(RunError):  # what came first, Ctrl-C perhaps, is what counts
                _stop(process)
            raise
        _stop(process)


def _await_ready(lab: Lab, server: ServerImage, process: Process) -> None:
    """Ask with the load generator itself, from the first client: what counts is that the clients can reach it."""
    client = lab.clients[0]
    command = ["loadgen", *towards(lab, client, server.port), "--uri", server.ready_path, "--rate", "20"]
    command += ["--warm-up", "0s", "--window", "100ms", "--timeout", "500ms", "--arrival", "deterministic"]
    deadline = time.monotonic() + server.ready_timeout_s
    while True:
        with Program.start(lab, client.name, command) as asking:
            answer = asking.finish(_ASKING_TIMEOUT_S, ask=False)
        if answer["completed"]:
            return
        if _status(process) is not None:
            raise ProgramError(f"the server {server.name} ended at its start: {_last_words(process)}")
        if time.monotonic() > deadline:
            where = f"port {server.port}, GET {server.ready_path}: {_what_came(answer)}"
            raise ProgramError(f"the server {server.name} was not ready within {server.ready_timeout_s:g} s ({where})")
        time.sleep(_READY_PAUSE_S)


def _what_came(answer: Line) -> str:
    """Why nothing that loadgen asked for was answered well."""
    if answer["other_reasons"]["status"]:
        return "it answers, but with a status that is not 2xx"
    errors = {**answer["errors"], **answer["other_reasons"]}
    return ", ".join(f"{count} {name}" for name, count in errors.items() if count and name != "other")


def _stop(process: Process) -> None:
    process.signal("TERM")
    try:
        process.wait(_STOP_TIMEOUT_S)
    except ProgramError:
        process.signal("KILL")
        process.wait(_STOP_TIMEOUT_S)


def _status(process: Process) -> int | None:
    """Its exit status, or None while it runs."""
    try:
        return process.wait(0.0)
    except ProgramError:
        return None


def _last_words(process: Process) -> str:
    said = [*process.lines(0.0), *process.stderr().splitlines()]
    return said[-1] if said else f"status {_status(process)}, no output"


KINDS.register("image", ImageKind())
