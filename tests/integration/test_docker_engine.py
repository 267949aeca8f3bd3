"""The way to the container engine: none there, one across TCP, one that goes away, and one that is asked in vain."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.errors import EnvironmentLack, ProgramError, RuntimeFault
from testbed.model.topology import Network, Node, Topology
from testbed.runtime import docker_engine as engine
from testbed.runtime import docker_exec
from testbed.runtime.base import Runtime
from testbed.runtime.docker import DockerRuntime
from testbed.runtime.docker_images import BASE_IMAGE
from tests.integration.conformance_world import standing

LAB = f"engine{os.getpid()}"
SOCKET = "/var/run/docker.sock"
CHILD = '(trap "echo child" USR1; while :; do sleep 0.05; done) & '
TRAPS = 'trap "echo usr1" USR1; trap "kill $! 2>&-; echo term; exit 5" TERM; echo ready; while :; do sleep 0.05; done'


class Proxy:
    """The engine's socket under a TCP port of this machine, until it is cut."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """No connection goes on, and no new one comes."""
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(SOCKET)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def node(docker_engine: Runtime) -> Iterator[str]:
    """A node that stands, made across the local socket."""
    own = Node(name="node", image=BASE_IMAGE, networks=("net",), tmpfs=("/tmp",))
    with standing(docker_engine, LAB, Topology(networks=(Network(name="net"),), nodes=(own,))):
        yield "node"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    if not Path(SOCKET).is_socket():
        pytest.skip(f"the engine is not at {SOCKET}")
    proxy = Proxy()
    monkeypatch.setenv("DOCKER_HOST", proxy.url)
    yield proxy
    proxy.cut()


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
def test_no_engine_says_where_it_was_looked_for_and_what_to_do(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EnvironmentLack) as caught:
        DockerRuntime()
    assert host in caught.value.what
    assert "start" in caught.value.fix


def test_a_socket_that_one_may_not_open_names_the_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(self: object, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(EnvironmentLack) as caught:
        DockerRuntime()
    assert "group docker" in caught.value.fix


def test_programs_run_across_tcp(node: str, proxy: Proxy) -> None:
    runtime = DockerRuntime()
    data = b"0123456789abcdef" * 10_000
    assert runtime.run(LAB, node, ["cat"], stdin=data).stdout == data.decode()
    process = runtime.start(LAB, node, ["sh", "-c", TRAPS])
    assert process.lines(10) == ["ready"]
    process.signal("TERM")
    assert process.wait(10) == 5
    assert process.lines(1) == ["term"]


def test_a_program_may_be_silent_for_longer_than_an_answer_may_take(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_TIMEOUT_S", 1)
    runtime = DockerRuntime()
    process = runtime.start(LAB, node, ["sh", "-c", "echo first; sleep 2.5; echo second"])
    assert runtime.run(LAB, node, ["sh", "-c", "sleep 1.6; echo end"]).stdout == "end\n"
    assert process.lines(5) == ["first"]
    assert process.lines(10) == ["second"]
    assert process.wait(10) == 0


def test_signals_find_their_program_by_its_mark_where_no_handle_can_be_had(
    node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an engine on another machine, and without root."""
    monkeypatch.setattr(docker_exec, "_process_handle", lambda pid, container: None)
    runtime = DockerRuntime()
    first, second = (runtime.start(LAB, node, ["sh", "-c", CHILD + TRAPS]) for _ in range(2))
    assert first.lines(10) == second.lines(10) == ["ready"]
    first.signal("USR1")
    assert first.lines(10) == ["usr1"]
    assert first.lines(0.3) == []
    first.signal("TERM")
    assert first.wait(10) == 5
    first.signal("TERM")
    with pytest.raises(ProgramError):
        second.wait(0.2)
    assert second.lines(0.1) == []
    second.signal("KILL")
    assert second.wait(10) == 137


def test_a_signal_that_does_not_exist_is_refused(node: str, docker_engine: Runtime) -> None:
    process = docker_engine.start(LAB, node, ["sleep", "30"])
    with pytest.raises(ValueError, match="NOSUCH"):
        process.signal("NOSUCH")
    process.signal("KILL")
    assert process.wait(10) == 137


def test_what_a_program_leaves_behind_is_reaped(node: str, docker_engine: Runtime) -> None:
    docker_engine.run(LAB, node, ["sh", "-c", "(sleep 0.1 &) ; true"])
    states = "sleep 0.5; grep -h ^State: /proc/[0-9]*/status"
    assert "Z (zombie)" not in docker_engine.run(LAB, node, ["sh", "-c", states]).stdout


def test_an_engine_that_goes_away_is_an_error_of_the_run(node: str, proxy: Proxy) -> None:
    runtime = DockerRuntime()
    process = runtime.start(LAB, node, ["sleep", "30"])
    proxy.cut()
    assert process.lines(10) == []  # at once: nothing can come any more
    for attempt in (
        lambda: process.wait(5),
        lambda: runtime.run(LAB, node, ["true"]),
        lambda: runtime.made(LAB),
        lambda: runtime.remove(LAB),
        lambda: runtime.cpu_time_ns(LAB, node),
        lambda: runtime.taken_subnets(),
    ):
        with pytest.raises(RuntimeFault, match="engine does not answer"):
            attempt()
    assert {made.name for made in DockerRuntimeHere().made(LAB)} == {"node", "net"}


class DockerRuntimeHere(DockerRuntime):
    """Across the local socket, whatever the environment says."""

    def __init__(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("DOCKER_HOST")
            super().__init__()
