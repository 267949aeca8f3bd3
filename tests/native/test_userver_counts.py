"""The counters are true: system calls a connection, interest changes, waits; against numbers known beforehand."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.native import userver_process
from tests.native.http_peer import FILES, Peer
from tests.native.userver_process import Server

CONNECTIONS = 40

# System calls a one-request connection whose client closes first. A mechanism that is not named makes the common ones.
COMMON = {"accept": 1, "fcntl": 2, "read": 2, "write": 1, "sendfile": 1, "setsockopt": 2, "close": 1}
PER_CONNECTION: dict[str, dict[str, int]] = {
    "select": {**COMMON, "epoll_ctl": 0},
    "poll": {**COMMON, "epoll_ctl": 0},
    "epoll-lt": {**COMMON, "epoll_ctl": 4},
    "epoll2": {**COMMON, "epoll_ctl": 2},
    "epoll-et": {**COMMON, "epoll_ctl": 2},
    "epoll-ctlv": {**COMMON, "epoll_ctl": 1},
    "aio-poll": {**COMMON, "epoll_ctl": 0},
    "rtsig": {**COMMON, "fcntl": 5},
    "io_uring": dict.fromkeys(COMMON, 0),
}
INTEREST_CHANGES = {
    **dict.fromkeys(("select", "poll", "epoll-lt", "epoll-ctlv", "aio-poll"), 4),
    **dict.fromkeys(("epoll2", "epoll-et", "rtsig", "io_uring"), 2),
}
"""How often a connection's interest changes; what a mechanism that is not named does is its own choice."""


def one_request(server: Server, path: str = "/1.bin") -> None:
    with Peer(server.host, server.port) as peer:
        peer.get(path)
        peer.reply()
        peer.finish_sending()
        assert peer.closed()


def calls(counters: dict[str, Any], name: str, what: str = "calls") -> int:
    return int(counters["syscalls"].get(name, {}).get(what, 0))


@pytest.fixture(params=userver_process.mechanism_names())
def mechanism(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if reason := userver_process.unavailable(userver_process.build()).get(name):
        pytest.skip(f"{name}: {reason}")
    return name


def test_calls_of_a_one_request_connection(mechanism: str, docroot: Path) -> None:
    with userver_process.start(mechanism, docroot=docroot) as server:
        one_request(server)  # so that what comes only once is behind us
        before = server.counters_when("open_connections", 0)
        for _ in range(CONNECTIONS):
            one_request(server)
        after = server.counters_when("open_connections", 0)
    expected = PER_CONNECTION.get(mechanism, COMMON)
    measured = {name: (calls(after, name) - calls(before, name)) for name in expected}
    measured["accept"] -= calls(after, "accept", "again") - calls(before, "accept", "again")  # one ends each phase
    if (
        mechanism == "rtsig"
    ):  # what came before O_ASYNC is not known, and every transition has its signal: reads in vain
        in_vain = calls(after, "read", "again") - calls(before, "read", "again")
        assert in_vain <= 3 * CONNECTIONS
        measured["read"] -= in_vain
    assert measured == {name: count * CONNECTIONS for name, count in expected.items()}
    changes = after["interest_changes"] - before["interest_changes"]
    assert changes == INTEREST_CHANGES.get(mechanism, changes / CONNECTIONS) * CONNECTIONS
    assert after["replies"] - before["replies"] == CONNECTIONS
    assert after["accepted"] - before["accepted"] == CONNECTIONS
    assert after["closed_by_peer"] - before["closed_by_peer"] == CONNECTIONS


def test_summary_adds_up(mechanism: str, docroot: Path) -> None:
    with userver_process.start(mechanism, docroot=docroot, profile=True) as server:
        for name in FILES:
            one_request(server, "/" + name.replace(" ", "%20"))
        server.counters_when("open_connections", 0)
        summary = server.stop()
    assert server.ready["cached_files"] == len(FILES)
    assert server.ready["cached_bytes"] == sum(map(len, FILES.values()))
    for histogram, counter in (("events_per_wait", "waits"), ("accepts_per_phase", None)):
        buckets = summary[histogram]["buckets"]
        assert sum(count for _, count in buckets) == summary[histogram]["count"]
        assert counter is None or summary[histogram]["count"] == summary[counter]
    assert summary["events_per_wait"]["sum"] == summary["events"]
    assert summary["accepts_per_phase"]["sum"] == summary["accepted"] == len(FILES)
    assert summary["useless_waits"] <= summary["waits"]
    assert summary["stale_events"] == 0
    assert summary["max_resident_kib"] > 500
    assert ("run_delay_us" in summary) == Path("/proc/self/schedstat").exists()
    if mechanism != "io_uring":
        assert calls(summary, "sendfile", "bytes") == sum(map(len, FILES.values()))
    cpu_ns = 1000 * (summary["cpu_user_us"] + summary["cpu_system_us"])
    for name, call in summary["syscalls"].items():
        assert call["time_ns"] > 50 * call["calls"] or call["calls"] < 5, (name, call)
        assert ("cpu_ns" in call) == call["waits"]
        if not call["waits"]:
            assert call["time_ns"] < cpu_ns + 500_000_000, (name, call)


def test_a_mechanism_sleeps_only_in_the_call_that_it_says(mechanism: str, docroot: Path) -> None:
    with userver_process.start(mechanism, docroot=docroot, profile=True) as server:
        one_request(server)
        before = server.counters_when("open_connections", 0)
        time.sleep(0.5)
        after = server.counters()  # asking wakes the server: the call that it slept in has returned, and is timed
    slept_ns = {
        name: call["time_ns"] - before["syscalls"].get(name, {}).get("time_ns", 0)
        for name, call in after["syscalls"].items()
    }
    waits = [name for name, call in after["syscalls"].items() if call["waits"]]
    assert [name for name, time_ns in slept_ns.items() if time_ns > 300_000_000] == waits
    used_ns = 1000 * (after["cpu_user_us"] + after["cpu_system_us"] - before["cpu_user_us"] - before["cpu_system_us"])
    (wait,) = waits
    waited_ns = after["syscalls"][wait]["cpu_ns"] - before["syscalls"].get(wait, {}).get("cpu_ns", 0)
    assert waited_ns <= used_ns + 10_000_000, "what it slept is no CPU time"


def test_changes_of_one_turn_are_one_call(docroot: Path) -> None:
    """epoll-ctlv: connections that were accepted in one phase reach the kernel by a single io_uring_enter."""
    if reason := userver_process.unavailable(userver_process.build()).get("epoll-ctlv"):
        pytest.skip(reason)
    with userver_process.start("epoll-ctlv", docroot=docroot) as server:
        one_request(server)  # by then the listener is registered too
        before = server.counters_when("open_connections", 0)
        server.process.send_signal(signal.SIGSTOP)  # all of them will be there at once
        peers = [Peer(server.host, server.port) for _ in range(64)]
        server.process.send_signal(signal.SIGCONT)
        server.counters_when("open_connections", 64)
        after = server.counters()  # the line before may have been written between the accepts and the flush
        assert after["accepts_per_phase"]["max"] == 64
        assert calls(after, "io_uring_enter") - calls(before, "io_uring_enter") == 1
        assert calls(after, "epoll_ctl") == calls(before, "epoll_ctl")
        for peer in peers:
            peer.socket.close()
        after = server.counters_when("open_connections", 0)
        assert calls(after, "epoll_ctl") - calls(before, "epoll_ctl") == 64


def test_useless_events_are_counted(docroot: Path) -> None:
    """epoll2 sees what nobody wants: an idle connection is writable, so no wait ever sleeps; epoll-et is told once."""
    useless = {}
    for mechanism in ("epoll2", "epoll-et", "epoll-lt"):
        with userver_process.start(mechanism, docroot=docroot) as server, Peer(server.host, server.port) as idle:
            server.counters_when("open_connections", 1)
            one_request(server)
            counters = server.counters()
            useless[mechanism] = counters["useless_events"]
            assert counters["useless_waits"] <= counters["useless_events"]
            idle.get("/1.bin")
            assert idle.reply().body == b"x"
    assert useless["epoll2"] > 50
    assert useless["epoll-et"] <= 4
    assert useless["epoll-lt"] == 0


def test_accept4_replaces_fcntl(docroot: Path) -> None:
    with userver_process.start("epoll-lt", docroot=docroot, accept4=True) as server:
        for _ in range(5):
            one_request(server)
        summary = server.stop()
    assert calls(summary, "fcntl") == 0
    assert calls(summary, "accept") == 0
    assert calls(summary, "accept4") - calls(summary, "accept4", "again") == 5


STRACE_NAMES = {"sigtimedwait": "rt_sigtimedwait"}
"""Where strace's name of a call is another than the counter's."""


@pytest.fixture(scope="module")
def strace() -> tuple[str, ...]:
    """A command that starts a program and counts its calls from outside; the program stays our own child (-D)."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    command = (found, "-D", "-f", "-c", "-U", "calls,errors,name", "-o")
    probe = subprocess.run([*command, "/dev/null", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace does not work here: {probe.stderr.strip()}")
    return command


def rows_of(output: Path) -> dict[str, tuple[int, int]]:
    """Call → how often, how often in vain; as soon as the tracer has written them."""
    until = time.monotonic() + 20
    while "total" not in (text := output.read_text() if output.exists() else "") and time.monotonic() < until:
        time.sleep(0.02)
    rows = [line.split() for line in text.splitlines()]
    table = {row[-1]: (int(row[0]), int(row[1]) if len(row) == 3 else 0) for row in rows if row[0].isdigit()}
    return {name: counts for name, counts in table.items() if name != "total"}


def unaccounted(seen: dict[str, tuple[int, int]], summary: dict[str, Any], name: str) -> tuple[int, int]:
    """Calls, and calls in vain, that strace saw and the server did not count."""
    count, failed = seen.get(STRACE_NAMES.get(name, name), (0, 0))
    in_vain = calls(summary, name, "again") + calls(summary, name, "errors")
    return count - calls(summary, name), failed - in_vain


def test_call_counts_are_those_of_strace(
    mechanism: str, docroot: Path, tmp_path: Path, strace: tuple[str, ...]
) -> None:
    """Every call that the server counts, over whole lives: beside a life without clients not one is missing."""
    lives = []
    for name, requests in (("idle", 0), ("busy", 25)):
        wrapper = (*strace, str(tmp_path / name))
        with userver_process.start(mechanism, docroot=docroot, wrapper=wrapper) as server:
            for number in range(requests):
                one_request(server, ("/1.bin", "/large.bin", "/none")[number % 3])
            summary = server.stop()
        lives.append((rows_of(tmp_path / name), summary))
    (idle_seen, idle), (busy_seen, busy) = lives
    assert busy["accepted"] == 25
    for name in busy["syscalls"]:
        assert unaccounted(busy_seen, busy, name) == unaccounted(idle_seen, idle, name), name
        assert busy_seen[STRACE_NAMES.get(name, name)][0] > 0
    # Nothing in the path of a connection goes uncounted.
    more = {name for name, (count, _) in busy_seen.items() if count > idle_seen.get(name, (0, 0))[0] + 20}
    assert more <= {STRACE_NAMES.get(name, name) for name in busy["syscalls"]}
