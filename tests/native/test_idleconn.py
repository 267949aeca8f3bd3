"""idleconn on both engines: the population is complete soon, stays complete, and says so."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.client_lab import ClientLab, Line, client_lab, finish, missing, stop
from tests.native.client_server import reset, serving

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module", params=["packet", "socket"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def lab(engine: str) -> Iterator[ClientLab]:
    with client_lab() as made:
        if engine == "socket":
            made.use_sockets()
        yield made


def start(lab: ClientLab, engine: str, count: int, *flags: str) -> subprocess.Popen[str]:
    return lab.program("idleconn", "--engine", engine, "--connections", str(count), *flags)


def ready(process: subprocess.Popen[str]) -> Line:
    """Its `ready` line; intervals may come before."""
    assert process.stdout is not None
    for text in process.stdout:
        line: Line = json.loads(text)
        if line["type"] == "ready":
            return line
    raise AssertionError(f"no ready line: {process.communicate()[1]}")


def hold(connection: socket.socket) -> None:
    """Keep it open until the client goes."""
    connection.recv(1)


def wait_until(condition: object, limit_s: float = 5.0) -> None:
    """Poll a callable until it is true."""
    assert callable(condition)
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_population_is_complete_and_silent(lab: ClientLab, engine: str) -> None:
    with serving(lab, hold) as accepted:
        process = start(lab, engine, 300)
        line = ready(process)
        assert (line["established"], line["engine"]) == (300, engine)
        assert line["elapsed_ms"] < 3000
        wait_until(lambda: len(accepted) == 300)
        time.sleep(1.2)
        for connection in accepted:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        lines = stop(process)
    summary = lines[-1]
    assert summary["type"] == "summary"
    assert summary["established"] == summary["wanted"] == summary["minimum_established"] == 300
    assert summary["reestablished"] == summary["resets"] == summary["timeouts"] == 0
    assert [line["established"] for line in lines if line["type"] == "interval"][-1] == 300


def test_what_closes_is_replaced(lab: ClientLab, engine: str) -> None:
    with serving(lab, lambda connection: time.sleep(30)) as accepted:
        process = start(lab, engine, 50)
        ready(process)
        wait_until(lambda: len(accepted) == 50)
        for connection in accepted[:10]:
            connection.shutdown(socket.SHUT_WR)
        for connection in accepted[10:15]:
            reset(connection)
        wait_until(lambda: len(accepted) == 65)
        time.sleep(0.2)
        summary = stop(process)[-1]
    assert summary["established"] == 50
    assert summary["reestablished"] == 15
    assert summary["closed_by_peer"] == 10
    assert summary["resets"] == 5
    assert 35 <= summary["minimum_established"] < 50


def test_small_backlog_and_slow_accept(lab: ClientLab, engine: str) -> None:
    """A full backlog answers SYNs and drops what follows: only what the server really has may count."""
    if engine == "socket":
        pytest.skip("a kernel's client believes the SYN cookie that the server's full backlog has forgotten")
    listener = lab.listen(backlog=8)
    process = start(lab, engine, 60)
    accepted = []
    try:
        for _ in range(60):
            accepted.append(listener.accept()[0])
            time.sleep(0.01)
        line = ready(process)
    finally:
        summary = stop(process)[-1]
        listener.close()
        for connection in accepted:
            connection.close()
    assert line["established"] == summary["established"] == 60


def test_incomplete_population_is_an_error(lab: ClientLab, engine: str) -> None:
    process = start(lab, engine, 10, "--give-up", "300ms")
    lines = finish(process, status=1)
    assert lines[-1]["type"] == "error"
    assert "only 0 of 10 connections" in lines[-1]["message"]


def test_heartbeat_sends_one_byte_a_second_of_an_endless_header(lab: ClientLab, engine: str) -> None:
    with serving(lab, lambda connection: time.sleep(30)) as accepted:
        process = start(lab, engine, 40, "--mode", "heartbeat")
        ready(process)
        wait_until(lambda: len(accepted) == 40)
        time.sleep(2.3)
        received = []
        for connection in accepted:
            connection.settimeout(1)
            received.append(connection.recv(100))
        stop(process)
    assert all(text in (b"G", b"GE", b"GET") for text in received), received


def test_slow_readers_hold_the_server_up(lab: ClientLab, engine: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    with lab.userver(tmp_path) as server:
        flags = ("--mode", "slow-reader", "--uri", "/large", "--read-rate", "20000", "--receive-buffer", "8192")
        process = start(lab, engine, 20, *flags)
        ready(process)
        time.sleep(1.5)
        queued = lab.command(lab.server_space, "ss", "-tnH", "state", "established", "sport", "= :8080")
        stuck = [line for line in queued.splitlines() if int(line.split()[1]) > 0]
        summary = stop(process)[-1]
        assert server.poll() is None
    assert len(stuck) == 20, "the server has bytes that nobody takes"
    assert summary["established"] == summary["minimum_established"] == 20


def test_keep_alive_probes_are_answered(lab: ClientLab, engine: str) -> None:
    def handler(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 1)):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        time.sleep(30)

    with serving(lab, handler):
        process = start(lab, engine, 20)
        ready(process)
        time.sleep(2.6)
        summary = stop(process)[-1]
    assert summary["established"] == summary["minimum_established"] == 20
    assert summary["resets"] == 0
    if engine == "packet":
        assert summary["engine_counters"]["keep_alives"] >= 20


def test_two_of_5000_within_a_second_or_so(lab: ClientLab, engine: str, tmp_path: Path) -> None:
    """The bound is wide, since the tests' machine is shared: `make bench` has the exact one."""
    if engine == "socket":
        pytest.skip("beyond the descriptor limit of many machines; the packet engine needs none")
    (tmp_path / "1.bin").write_bytes(b"x")
    with lab.userver(tmp_path) as server:
        processes = [
            lab.program("idleconn", "--connections", "5000", "--hosts", hosts, sanitize=False)
            for hosts in ("10.77.64.0/23", "10.77.66.0/23")
        ]
        elapsed = [ready(process)["elapsed_ms"] for process in processes]
        for process in processes:
            summary = stop(process)[-1]
            assert summary["minimum_established"] == summary["established"] == 5000
        assert server.poll() is None
    assert max(elapsed) < 4000
