"""Limits and shortages: accepts, connections, descriptors, and every error that accept() and the others have."""

from __future__ import annotations

import errno
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.native import userver_process
from tests.native.http_peer import FILES, LARGE, Peer
from tests.native.userver_process import Server

MECHANISMS = Path(__file__).parent / "mechanisms"
MORE_THAN_A_SEND_BUFFER = 3  # times LARGE


@pytest.fixture(params=userver_process.mechanism_names())
def mechanism(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if reason := userver_process.unavailable(userver_process.build(sanitize=True)).get(name):
        pytest.skip(f"{name}: {reason}")
    return name


def answers(peer: Peer) -> None:
    peer.get("/1.bin")
    assert peer.reply().body == b"x"


def stopped(server: Server, count: int) -> list[Peer]:
    """Connections that are all there when the server next looks."""
    server.process.send_signal(signal.SIGSTOP)
    peers = [Peer(server.host, server.port) for _ in range(count)]
    server.process.send_signal(signal.SIGCONT)
    return peers


def close_all(peers: list[Peer]) -> None:
    for peer in peers:
        peer.socket.close()


@pytest.mark.parametrize("limit", [1, 10, "inf"])
def test_accept_limit(mechanism: str, docroot: Path, limit: int | str) -> None:
    binary = userver_process.build(sanitize=True)
    with userver_process.start(mechanism, docroot=docroot, binary=binary, accept_limit=limit) as server:
        peers = stopped(server, 35)
        counters = server.counters_when("open_connections", 35)
        assert counters["accepts_per_phase"]["max"] == (35 if limit == "inf" else limit)
        for peer in peers:
            answers(peer)
        close_all(peers)


def test_listeners_leave_at_the_connection_limit_and_return(mechanism: str, docroot: Path) -> None:
    binary = userver_process.build(sanitize=True)
    with userver_process.start(mechanism, docroot=docroot, binary=binary, max_connections=5) as server:
        peers = stopped(server, 8)
        counters = server.counters_when("open_connections", 5)
        assert (counters["open_connections"], counters["listener_parked"]) == (5, 1)
        for peer in peers[:5]:
            answers(peer)
        waits = server.counters()["waits"]
        time.sleep(0.1)
        idle = server.counters()
        # epoll2 is never without events while a connection is open; the others sleep
        assert mechanism == "epoll2" or idle["waits"] - waits < 10, (
            "it must not spin on a listener that it cannot serve"
        )
        assert idle["accepted"] == 5
        peers[0].socket.close()
        answers(peers[5])
        assert server.counters_when("accepted", 6)["open_connections"] == 5
        close_all(peers)
        assert server.counters_when("accepted", 8)["accepted"] == 8
        server.counters_when("open_connections", 0)
        with Peer(server.host, server.port) as late:
            answers(late)


def test_out_of_descriptors_and_back(mechanism: str, docroot: Path) -> None:
    """Another hand takes the descriptors away while it runs: accept() fails with EMFILE, nobody spins."""
    binary = userver_process.build(sanitize=True)
    # An accept that io_uring has armed keeps the limit of that moment; with an accept limit the server accepts by hand.
    with userver_process.start(mechanism, docroot=docroot, binary=binary, accept_limit=1000) as server:
        pid = server.ready["pid"]
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        first = Peer(server.host, server.port)
        answers(first)
        used = descriptors(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 3, before[1]))
        peers = [Peer(server.host, server.port) for _ in range(9)]
        counters = server.counters_when("open_connections", 4)
        assert counters["open_connections"] == 4
        time.sleep(0.35)
        counters = server.counters()
        assert 1 <= counters["accept_errors"]["emfile"] <= 20, "retried now and then, not in a loop"
        answers(first)
        answers(peers[0])
        peers[0].socket.close()  # makes room for one
        answers(peers[3])
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for peer in peers[4:]:
            answers(peer)
        close_all([first, *peers])
        assert server.counters_when("open_connections", 0)["accepted"] == 10


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def wait_for_descriptors(pid: int, count: int) -> None:
    """Until it has so many open: io_uring closes a moment after the server has said that a connection is gone."""
    until = time.monotonic() + 10
    while descriptors(pid) != count and time.monotonic() < until:
        time.sleep(0.01)
    assert descriptors(pid) == count


def test_hooked_accepts_stop_near_the_limit_and_return(docroot: Path) -> None:
    """io_uring accepts by itself only while many places are free; armed again, it meets EMFILE as a completion."""
    binary = userver_process.build(sanitize=True)
    if reason := userver_process.unavailable(binary).get("io_uring"):
        pytest.skip(reason)
    # hooked below 384 connections, and again below 128
    with userver_process.start("io_uring", docroot=docroot, binary=binary, backlog=64, max_connections=640) as server:
        pid = server.ready["pid"]
        used = descriptors(pid)
        peers = [Peer(server.host, server.port) for _ in range(660)]
        counters = server.counters_when("open_connections", 640)
        assert (counters["open_connections"], counters["listener_parked"]) == (640, 1)
        accept = counters["syscalls"]["accept"]
        assert 0 < accept["calls"] - accept["again"] <= 256, "most were accepted by the ring, the last ones by hand"
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        close_all(peers)
        server.counters_when("accepted", 660)
        server.counters_when("open_connections", 0)
        wait_for_descriptors(pid, used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 400, before[1]))
        peers = [Peer(server.host, server.port) for _ in range(400)]  # no longer hooked
        server.counters_when("accepted", 1060)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, before[1]))
        close_all(peers)  # hooked again, under that limit
        server.counters_when("open_connections", 0)
        wait_for_descriptors(pid, used)
        manual = server.counters()["syscalls"]["accept"]["calls"]
        peers = [Peer(server.host, server.port) for _ in range(6)]
        counters = server.counters_when("open_connections", 4)
        assert counters["open_connections"] == 4
        assert counters["accept_errors"]["emfile"] >= 1
        assert counters["syscalls"]["accept"]["calls"] == manual
        close_all(peers[:2])
        for peer in peers[2:]:
            answers(peer)
        close_all(peers[2:])


@pytest.mark.parametrize("soft", [64, 200])
def test_descriptor_limit_lowers_the_connection_limit(docroot: Path, soft: int) -> None:
    wrapper = ("prlimit", f"--nofile=32:{soft}")
    with userver_process.start("select", docroot=docroot, wrapper=wrapper) as server:
        most = server.ready["max_connections"]
        assert soft - 40 <= most < soft - 5
        assert f"--max-connections lowered to {most}" in server.error_text()
        peers = [Peer(server.host, server.port) for _ in range(most)]
        for peer in peers:
            answers(peer)
        counters = server.counters()
        assert (counters["open_connections"], counters["listener_parked"]) == (most, 1)
        assert counters["accept_errors"]["emfile"] == 0
        close_all(peers)


def faulty(docroot: Path, faults: str, mechanism: str = "epoll-lt") -> Server:
    """A server whose calls fail as `mechanisms/faults.c` describes."""
    binary = userver_process.build(sanitize=True, extra=MECHANISMS, name="extra")
    return userver_process.start(mechanism, docroot=docroot, binary=binary, environment={"FAULTS": faults})


READINESS = ("select", "poll", "epoll-lt", "epoll-et", "rtsig")


@pytest.mark.parametrize("mechanism", READINESS)
@pytest.mark.parametrize(
    ("error", "counter"),
    [
        (errno.ECONNABORTED, "connaborted"),
        (errno.EPROTO, "connaborted"),
        (errno.EMFILE, "emfile"),
        (errno.ENFILE, "emfile"),
        (errno.ENOBUFS, "nobufs"),
        (errno.ENOMEM, "nobufs"),
        (errno.EPERM, "other"),
        (errno.EINTR, None),
    ],
)
def test_accept_errors_are_survived(docroot: Path, mechanism: str, error: int, counter: str | None) -> None:
    with faulty(docroot, f"accept:{error}:2", mechanism) as server:
        for _ in range(4):
            with Peer(server.host, server.port) as peer:
                answers(peer)
        errors = server.counters()["accept_errors"]
        assert errors == {"emfile": 0, "connaborted": 0, "nobufs": 0, "other": 0} | ({counter: 2} if counter else {})


@pytest.mark.parametrize("mechanism", [*READINESS, "epoll2", "epoll-ctlv", "aio-poll"])
@pytest.mark.parametrize("kind", ["short", "interrupted"])
def test_short_and_interrupted_calls_change_nothing(docroot: Path, mechanism: str, kind: str) -> None:
    faults = f"read:{errno.EINTR}:0,write:{errno.EINTR}:0,sendfile:{errno.EINTR}:0"
    if kind == "short":
        faults = "write:short:0,sendfile:short:200"
        if mechanism not in ("epoll-et", "rtsig"):  # there a short read means by contract that nothing is left
            faults += ",read:short:0"
    if reason := userver_process.unavailable(userver_process.build()).get(mechanism):
        pytest.skip(reason)
    with faulty(docroot, faults, mechanism) as server, Peer(server.host, server.port) as peer:
        for name in ("1.bin", "dir00000/class0_0", "empty.bin", "large.bin", "1.bin"):
            peer.get("/" + name)
            assert peer.reply().body == FILES[name]
        peer.finish_sending()
        assert peer.closed()


@pytest.mark.parametrize("mechanism", READINESS)
def test_lack_of_memory_ends_the_connection_only(docroot: Path, mechanism: str) -> None:
    for call in ("read", "write", "sendfile"):
        with faulty(docroot, f"{call}:{errno.ENOBUFS}:1", mechanism) as server:
            with Peer(server.host, server.port) as unlucky:
                unlucky.get("/1.bin")
                with pytest.raises((EOFError, ConnectionResetError)):
                    unlucky.reply()
            with Peer(server.host, server.port) as peer:
                answers(peer)
            assert server.counters_when("open_connections", 0)["closed_by_server"] == 1


def test_partial_writes_resume_when_there_is_room(mechanism: str, docroot: Path) -> None:
    """Several readers that do not read: their replies stop half-way, others go on, and all of it arrives in the end."""
    with userver_process.start(mechanism, docroot=docroot, binary=userver_process.build(sanitize=True)) as server:
        slow = [Peer(server.host, server.port, receive_buffer=8192) for _ in range(2)]
        for peer in slow:
            peer.send(b"GET /large.bin HTTP/1.1\r\n\r\n" * MORE_THAN_A_SEND_BUFFER)
            peer.get("/1.bin", extra="Connection: close\r\n")
        with Peer(server.host, server.port) as quick:
            answers(quick)
            for peer in slow:
                for _ in range(MORE_THAN_A_SEND_BUFFER):
                    assert peer.reply().body == LARGE
            answers(quick)
        for peer in slow:
            assert peer.reply().body == b"x"
        for peer in slow:
            assert peer.closed()
            peer.socket.close()
        again = server.counters()["syscalls"].get("sendfile", {}).get("again", 1)
        assert again >= 1, "nothing ever had to wait: the test did not test"


def test_a_stuck_reader_that_resets_is_forgotten(mechanism: str, docroot: Path) -> None:
    with userver_process.start(mechanism, docroot=docroot, binary=userver_process.build(sanitize=True)) as server:
        for _ in range(10):
            peer = Peer(server.host, server.port, receive_buffer=4096)
            peer.send(b"GET /large.bin HTTP/1.1\r\n\r\n" * MORE_THAN_A_SEND_BUFFER)
            peer.socket.recv(100)
            peer.reset()
        counters = server.counters_when("open_connections", 0)
        assert (counters["open_connections"], counters["resets"]) == (0, 10)
        assert counters["replies"] < 10 * MORE_THAN_A_SEND_BUFFER


def test_two_addresses(mechanism: str, docroot: Path) -> None:
    with userver_process.start(mechanism, docroot=docroot, bind="127.0.0.1,127.0.0.2") as server:
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            with Peer(host, server.port) as peer:
                answers(peer)
        with pytest.raises(ConnectionRefusedError):
            Peer("127.0.0.3", server.port)


def test_overflow_of_the_signal_queue_falls_back_to_poll(docroot: Path) -> None:
    """Room for few queued signals, and more connections than that at once."""
    pending = len(signal.sigpending()) + 60
    with userver_process.start("rtsig", docroot=docroot, wrapper=("prlimit", f"--sigpending={pending}")) as server:
        server.process.send_signal(signal.SIGSTOP)
        peers = [Peer(server.host, server.port) for _ in range(100)]
        server.process.send_signal(signal.SIGCONT)
        server.counters_when("open_connections", 100)
        for _ in range(5):  # On a busy machine packets may arrive after the server goes on, and few at a time.
            server.process.send_signal(signal.SIGSTOP)
            for peer in peers:
                peer.get("/1.bin")
            server.process.send_signal(signal.SIGCONT)
            for peer in peers:
                assert peer.reply().body == b"x"
            if overflowed := "poll" in server.counters()["syscalls"]:
                break
        assert overflowed, "the queue never overflowed"
        close_all(peers)
        assert server.counters_when("open_connections", 0)["open_connections"] == 0


def test_signals_are_never_slept_over(mechanism: str, docroot: Path) -> None:
    """A storm of SIGUSR1 at requests under way: every reply arrives, and so does the last counter line."""
    with userver_process.start(mechanism, docroot=docroot) as server, Peer(server.host, server.port) as peer:
        for _ in range(60):
            peer.get("/1.bin")
            server.counters()  # each must be answered, although nothing else may happen after it
            assert peer.reply().body == b"x"
        assert server.counters()["replies"] == 60


def test_intervals(docroot: Path) -> None:
    with userver_process.start("epoll-lt", docroot=docroot, interval="50ms") as server:
        first, second = server.line("interval"), server.line("interval")
        assert set(first) == {"type", "now_ns", "open_connections", "replies"}
        assert 20e6 < second["now_ns"] - first["now_ns"] < 2e9
        server.process.terminate()
        while b'"summary"' not in (line := server.process.stdout.readline() if server.process.stdout else b""):
            assert line
        assert server.process.wait(10) == 0
        server.result = {}
