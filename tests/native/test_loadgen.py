"""loadgen on both engines against the kernel's TCP: what it asks, counts and reports."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.client_lab import ClientLab, build, client_lab, finish, missing
from tests.native.client_server import answer_all, read_request, reply, reset, serving

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

RATE = ("--rate", "80", "--warm-up", "100ms", "--window", "150ms", "--timeout", "2s")
ONE = (*RATE, "--uri", "/x")
STARTS = 20


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


def errors_of(line: dict[str, dict[str, int]]) -> dict[str, int]:
    """The error classes that are not 0."""
    return {name: count for name, count in line["errors"].items() if count}


def test_one_request_a_connection_and_the_client_closes_first(lab: ClientLab, engine: str) -> None:
    requests: list[bytes] = []
    ends: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(reply())
        ends.append(connection.recv(100))

    with serving(lab, handler) as accepted:
        summary = lab.loadgen("--engine", engine, *ONE)
        peers = len(accepted)
    assert summary["attempted"] == summary["completed"] == summary["replies"] == peers == len(requests) == STARTS
    assert ends == [b""] * STARTS
    assert set(requests) == {b"GET /x HTTP/1.1\r\nUser-Agent: testbed-loadgen\r\nHost: 10.99.0.1\r\n\r\n"}
    window = summary["window"]
    assert window["requests_wanted"] == round(window["sent_per_s"] * window["seconds"])
    assert window["intended"] == window["completed"] == window["response_ns"]["count"] == 12
    assert window["sent_per_s"] == pytest.approx(80, abs=8)
    assert window["response_ns"]["max"] >= window["response_actual_ns"]["max"] > window["connect_ns"]["max"] / 2 > 0


def test_every_connection_has_another_address(lab: ClientLab, engine: str) -> None:
    seen: list[tuple[str, int]] = []

    def handler(connection: socket.socket) -> None:
        seen.append(connection.getpeername())
        answer_all(connection)

    with serving(lab, handler):
        lab.loadgen("--engine", engine, *ONE)
    hosts = [socket.inet_aton(host) for host, _ in seen]
    assert len(set(hosts)) == STARTS
    assert all(socket.inet_aton("10.77.64.0") < host < socket.inet_aton("10.77.67.255") for host in hosts)


def test_one_address_has_more_ports_than_the_kernels_own_range(lab: ClientLab, engine: str, tmp_path: Path) -> None:
    """The range of ephemeral ports has 28,232; each of these leaves its port in use for a minute, or longer."""
    (tmp_path / "x").write_bytes(b"x")
    load = ("--rate", "2500", "--warm-up", "0s", "--window", "12s", "--timeout", "20s", "--uri", "/x")
    with lab.userver(tmp_path, "--backlog", "4096"):
        summary = lab.loadgen("--engine", engine, *load, sanitize=False, hosts="10.77.64.9/32")
    assert errors_of(summary) == {}
    assert summary["completed"] == pytest.approx(30_000, abs=2)


def test_refused_is_counted(lab: ClientLab, engine: str) -> None:
    assert errors_of(lab.loadgen("--engine", engine, *ONE)) == {"connrefused": STARTS}


def test_reset_is_counted(lab: ClientLab, engine: str) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        reset(connection)

    with serving(lab, handler):
        assert errors_of(lab.loadgen("--engine", engine, *ONE)) == {"connreset": STARTS}


def test_silence_is_a_client_timeout(lab: ClientLab, engine: str) -> None:
    with serving(lab, lambda connection: time.sleep(2)):
        summary = lab.loadgen("--engine", engine, *ONE, "--timeout", "300ms")
    assert errors_of(summary) == {"client_timo": STARTS}
    assert summary["window"]["errors"]["client_timo"] == 12


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(status=b"404 Not Found"), "status"),
        (reply(status=b"503 Busy"), "status"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "early_close"),
    ],
)
def test_bad_replies_are_other_errors(lab: ClientLab, engine: str, answer: bytes, reason: str) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with serving(lab, handler):
        summary = lab.loadgen("--engine", engine, *ONE)
    assert errors_of(summary) == {"other": STARTS}
    assert summary["other_reasons"][reason] == STARTS


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 100 Continue\r\n\r\n", reply(b"abc")],
        [b"HTTP/1.1 200 OK\r\ncontent-LENGTH:3\r\n\r\na", b"bc"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: x\r\n\r\n"],
        [b"HTTP/1.0 200 OK\r\n\r\nab", b"c"],
        [bytes([byte]) for byte in reply(b"abc")],
    ],
)
def test_every_form_of_reply_in_any_pieces(lab: ClientLab, engine: str, pieces: list[bytes]) -> None:
    def handler(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_request(connection)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.001)

    crc = f"{zlib.crc32(b'abc'):08x}"
    with serving(lab, handler):
        summary = lab.loadgen("--engine", engine, *ONE, "--body-crc32", crc)
    assert errors_of(summary) == {}
    assert summary["replies"] == STARTS


def test_wrong_body_is_noticed(lab: ClientLab, engine: str) -> None:
    with serving(lab, answer_all):
        summary = lab.loadgen("--engine", engine, *ONE, "--body-crc32", "00000001")
    assert errors_of(summary) == {"other": STARTS}
    assert summary["other_reasons"]["body"] == STARTS


NO_CHANGE_OF_EVENTS = """
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>
int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event)
{
    errno = ENOMEM;
    return operation == EPOLL_CTL_MOD ? -1 : (int)syscall(SYS_epoll_ctl, epoll, operation, descriptor, event);
}
"""


def test_a_connection_that_cannot_be_watched_fails_at_once(
    lab: ClientLab, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the request is out, the reply is to be waited for, and the kernel has no memory for that."""
    if engine != "socket":
        pytest.skip("the packet engine has no descriptor for each connection")
    (tmp_path / "refusing.c").write_text(NO_CHANGE_OF_EVENTS)
    library = tmp_path / "refusing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "refusing.c"], check=True, timeout=60)
    build("loadgen", sanitize=False)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    with serving(lab, answer_all):
        summary = lab.loadgen("--engine", engine, *ONE, sanitize=False)
    assert errors_of(summary) == {"other": STARTS}
    assert summary["other_reasons"]["engine"] == STARTS


def test_full_table_is_counted_and_the_rest_goes_on(lab: ClientLab, engine: str) -> None:
    with serving(lab, lambda connection: time.sleep(2)):
        summary = lab.loadgen("--engine", engine, *ONE, "--timeout", "400ms", "--max-in-flight", "3")
    assert set(errors_of(summary)) == {"client_timo", "ftab_full"}
    assert 3 <= summary["errors"]["client_timo"] <= 6


def test_sessions_follow_the_trace(lab: ClientLab, engine: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(
        "# two sessions\n/a think=0.15\n\t/a1\n  /a2 method=HEAD\n/b method=POST contents='x=\\'1\\'\\n'\n\n\n/only\n"
    )
    talks: list[list[tuple[float, bytes]]] = []

    def handler(connection: socket.socket) -> None:
        talk: list[tuple[float, bytes]] = []
        talks.append(talk)
        while request := read_request(connection):
            for one in request.replace(b"HEAD /a2", b"\0HEAD /a2").split(b"\0"):  # pipelined: both at once
                talk.append((time.monotonic(), one))
                connection.sendall(reply(b"" if one.startswith(b"HEAD") else b"body"))

    with serving(lab, handler):
        summary = lab.loadgen("--engine", engine, *RATE, "--sessions", str(trace))
    assert errors_of(summary) == {}
    assert summary["completed"] == STARTS
    assert summary["requests"] == summary["replies"] == STARTS / 2 * 5
    assert summary["window"]["requests_wanted"] == pytest.approx(12 / 2 * 5, abs=5)
    assert 20 < summary["window"]["requests"] < summary["requests"], "some came before the window, some after it"
    long = [talk for talk in talks if len(talk) > 1]
    assert len(long) == STARTS / 2
    for talk in long:
        assert [text.split(b" HTTP")[0] for _, text in talk] == [b"GET /a", b"GET /a1", b"HEAD /a2", b"POST /b"]
        assert talk[3][1].endswith(b"Content-Length: 6\r\n\r\nx='1'\n")
        assert talk[2][0] - talk[1][0] < 0.1, "one burst"
        assert talk[3][0] - talk[2][0] >= 0.149, "think time"
    assert {talk[0][1].split(b" ")[1] for talk in talks if len(talk) == 1} == {b"/only"}


def test_think_time_is_not_response_time_and_not_a_timeout(lab: ClientLab, engine: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("/a think=0.6\n/b\n")
    with serving(lab, answer_all):
        flags = (*RATE, "--sessions", str(trace), "--timeout", "400ms", "--rate", "10", "--warm-up", "500ms")
        summary = lab.loadgen("--engine", engine, *flags, "--window", "300ms")
    assert summary["completed"] >= 1
    assert summary["window"]["response_ns"]["max"] < 0.4e9
    assert set(errors_of(summary)) <= {"client_timo"}, "the end of the run cuts the last ones off"


@pytest.mark.parametrize("arrival", ["deterministic", "exponential", "uniform"])
def test_arrivals_are_seeded(lab: ClientLab, engine: str, arrival: str) -> None:
    load = ("--rate", "400", "--arrival", arrival, "--warm-up", "0s", "--window", "300ms", "--timeout", "2s")
    flags = ("--engine", engine, "--uri", "/x", *load)
    counts = [lab.loadgen(*flags, "--seed", seed)["attempted"] for seed in ("1", "1", "2", "3")]
    assert counts[0] == counts[1]
    assert all(abs(count - 120) <= 5 * 120**0.5 for count in counts)
    if arrival == "deterministic":
        assert set(counts) <= {119, 120, 121}
    else:
        assert len(set(counts)) > 1


def test_clients_begin_together_at_the_given_time(lab: ClientLab, engine: str) -> None:
    times: list[float] = []

    def handler(connection: socket.socket) -> None:
        times.append(time.monotonic())
        answer_all(connection)

    start = time.monotonic() + 1.0
    with serving(lab, handler):
        lab.loadgen("--engine", engine, *ONE, "--start-at", str(int(start * 1e9)))
    assert min(times) >= start
    assert min(times) - start < 0.2


def test_the_start_can_be_told_once_all_is_ready(lab: ClientLab, engine: str) -> None:
    begun: list[float] = []

    def handler(connection: socket.socket) -> None:
        begun.append(time.monotonic())
        answer_all(connection)

    with serving(lab, handler):
        process = lab.program("loadgen", "--engine", engine, *ONE, "--start-at", "stdin")
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["type"] == "ready"
        time.sleep(0.3)
        assert not begun
        start_ns = time.monotonic_ns() + 200_000_000
        process.stdin.write(f"{start_ns}\n")
        process.stdin.flush()
        told = json.loads(process.stdout.readline())
        assert (told["type"], told["start_at_ns"]) == ("told", start_ns)
        assert told["now_ns"] < start_ns
        finish(process)
    assert 0 <= min(begun) - start_ns / 1e9 < 0.2


@pytest.mark.parametrize("words", ["", "soon\n", "12 13\n", "-1\n", f"{'9' * 40}\n"])
def test_a_start_that_is_not_told_is_an_error(lab: ClientLab, engine: str, words: str) -> None:
    process = lab.program("loadgen", "--engine", engine, *ONE, "--start-at", "stdin")
    output, _ = process.communicate(words, timeout=20)
    assert process.returncode == 1
    assert json.loads(output.splitlines()[-1])["message"].startswith("stdin ended")


def test_a_signal_ends_the_wait_for_the_start(lab: ClientLab, engine: str) -> None:
    process = lab.program("loadgen", "--engine", engine, *ONE, "--start-at", "stdin")
    assert process.stdout is not None
    assert '"ready"' in process.stdout.readline()
    process.terminate()
    process.wait(20)  # before its stdin ends as well
    assert finish(process)[-1]["attempted"] == 0


def test_intervals_as_short_as_asked_for_never_count_backwards(lab: ClientLab, engine: str) -> None:
    with serving(lab, answer_all):
        lines = finish(lab.program("loadgen", "--engine", engine, *ONE, "--window", "900ms", "--interval", "100ms"))
    intervals = [line for line in lines if line["type"] == "interval"]
    assert 5 <= len(intervals) <= 12
    for name in ("now_ns", "started", "replies"):
        counts = [line[name] for line in intervals]
        assert counts == sorted(counts)
    assert intervals[-1]["replies"] <= lines[-1]["replies"] == 80


def test_sigterm_ends_with_a_summary_that_adds_up(lab: ClientLab, engine: str) -> None:
    with serving(lab, lambda connection: time.sleep(3)):
        process = lab.program("loadgen", "--engine", engine, *ONE, "--window", "60s", "--timeout", "30s")
        threading.Timer(1.3, process.send_signal, [signal.SIGTERM]).start()
        lines = finish(process)
    assert [line["type"] for line in lines] == ["ready", "interval", "summary"]
    assert lines[1]["in_flight"] == lines[1]["started"] > 30
    assert lines[2]["other_reasons"]["interrupted"] == lines[2]["attempted"] > 30


def test_server_that_closes_first_and_half_closes(lab: ClientLab, engine: str) -> None:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply(headers=b"Connection: close\r\n"))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""

    with serving(lab, handler):
        summary = lab.loadgen("--engine", engine, *ONE)
    assert errors_of(summary) == {}


def test_request_body_through_a_window_that_closes(lab: ClientLab, engine: str, tmp_path: Path) -> None:
    body = bytes(97 + index % 26 for index in range(300_000))
    trace = tmp_path / "trace"
    trace.write_text(f"/form method=POST contents={body.decode()}\n")
    received: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        time.sleep(0.5)
        received.append(read_request(connection).split(b"\r\n\r\n", 1)[1])
        connection.sendall(reply())

    with serving(lab, handler):
        summary = lab.loadgen(
            "--engine", engine, *RATE, "--sessions", str(trace), "--rate", "8", "--timeout", "8s", "--window", "300ms"
        )
    assert errors_of(summary) == {}
    assert len(received) == summary["completed"] >= 2
    assert set(received) == {body}
