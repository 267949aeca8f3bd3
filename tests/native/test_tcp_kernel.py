"""The packet engine's TCP against the kernel's through bad networks: no wrong byte, no stuck connection."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.client_lab import SERVER, ClientLab, Line, client_lab, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

BODY = random.Random(7).randbytes(921_600)
PATIENCE = ("--timeout", "50s")
"""Longer than a few retransmissions in a row on a machine that stands still at times: only what is stuck takes it."""

LARGE = ("--uri", "/large", "--body-crc32", f"{zlib.crc32(BODY):08x}", "--warm-up", "0s", *PATIENCE)


@pytest.fixture
def lab() -> Iterator[ClientLab]:
    with client_lab() as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    (folder / "large").write_bytes(BODY)
    (folder / "1.bin").write_bytes(b"x")
    return folder


def all_completed(summary: Line, at_least: int) -> None:
    assert sum(summary["errors"].values()) == 0, json.dumps([summary["errors"], summary["engine_counters"]])
    assert summary["completed"] == summary["replies"] >= at_least


def in_router(lab: ClientLab, commands: list[str]) -> None:
    """Run commands that the kernel may not support; then the test is skipped with its reason."""
    for command in commands:
        try:
            lab.command(lab.router_space, *command.split())
        except RuntimeError as fault:
            pytest.skip(f"the router cannot do this here: {fault}")


@pytest.fixture
def routed() -> Iterator[ClientLab]:
    if shutil.which("iptables-legacy") is None:
        pytest.skip("iptables-legacy is not installed")
    with client_lab() as made:
        made.insert_router()
        yield made


def test_full_speed_in_frames_of_64_kib(lab: ClientLab, files: Path) -> None:
    with lab.userver(files):
        summary = lab.loadgen(*LARGE, "--rate", "40", "--window", "500ms", sanitize=False)
    all_completed(summary, 20)
    counters = summary["engine_counters"]
    assert counters["frames_received"] < summary["replies"] * len(BODY) / 1448 / 4, "segments came in large frames"
    assert counters["ring_drops"] == 0


def test_ring_of_small_slots_and_few(lab: ClientLab, files: Path) -> None:
    """Frames that do not fit are fetched whole; frames that find the ring full are lost, and sent again."""
    with lab.userver(files):
        flags = ("--ring-frames", "64", "--ring-frame-bytes", "512")
        summary = lab.loadgen(*LARGE, *flags, "--rate", "40", "--window", "500ms", sanitize=False)
    all_completed(summary, 20)


@pytest.mark.parametrize(("towards_server", "towards_client"), [("0.02", "0.01"), ("0", "0.03"), ("0.1", "0")])
def test_random_loss(routed: ClientLab, files: Path, towards_server: str, towards_client: str) -> None:
    drop = "iptables-legacy -A FORWARD -p tcp --{}port 8080 -m statistic --mode random --probability {} -j DROP"
    in_router(routed, [drop.format("d", towards_server), drop.format("s", towards_client)])
    with routed.userver(files):
        large = routed.loadgen(*LARGE, "--rate", "8", "--window", "700ms", "--initial-rto", "100ms")
        small = ("--uri", "/1.bin", "--rate", "300", "--warm-up", "0s", "--window", "500ms", *PATIENCE)
        summary = routed.loadgen(*small, "--initial-rto", "100ms")
    all_completed(large, 5)
    all_completed(summary, 148)
    if towards_server != "0":
        assert summary["engine_counters"]["retransmissions"] > 0
    if towards_client != "0":
        assert large["engine_counters"]["out_of_order"] > 0


def test_queue_that_overflows(routed: ClientLab, files: Path) -> None:
    in_router(routed, ["tc qdisc add dev q0 root tbf rate 80mbit burst 5kb limit 20kb"])
    with routed.userver(files):
        summary = routed.loadgen(*LARGE, "--rate", "10", "--window", "600ms")
    all_completed(summary, 6)
    assert summary["engine_counters"]["out_of_order"] > 0, "the queue dropped nothing: the test tests nothing"


def test_every_segment_twice(routed: ClientLab, files: Path) -> None:
    in_router(routed, ["iptables-legacy -t mangle -A PREROUTING -i r0 -p tcp -j TEE --gateway 10.98.0.2"])
    with routed.userver(files):
        summary = routed.loadgen(*LARGE, "--rate", "10", "--window", "600ms")
    all_completed(summary, 6)
    assert summary["engine_counters"]["duplicates"] > 6 * len(BODY) / 1460 / 2


def test_segments_overtake_each_other(routed: ClientLab, files: Path) -> None:
    choose = "iptables-legacy -t mangle -A POSTROUTING -o q0 -m statistic --mode random --probability 0.05 -j CLASSIFY"
    in_router(
        routed,
        [
            "tc qdisc add dev q0 root handle 1: htb default 1",
            "tc class add dev q0 parent 1: classid 1:1 htb rate 800mbit quantum 1514",
            "tc class add dev q0 parent 1: classid 1:2 htb rate 10mbit burst 2kb quantum 1514",
            f"{choose} --set-class 1:2",
        ],
    )
    with routed.userver(files):
        summary = routed.loadgen(*LARGE, "--rate", "10", "--window", "600ms")
    all_completed(summary, 6)
    assert summary["engine_counters"]["out_of_order"] > 20


def test_backlog_that_overflows(lab: ClientLab, files: Path) -> None:
    """More SYNs at once than the backlog takes: lost ones are sent again until all are served.

    The server stands still while they come. They are sent again all at once, and a busy machine's server may take no
    more than its backlog each time: six times, 6.4 s, are enough for all.
    """
    with lab.userver(files, "--backlog", "32") as server:
        server.send_signal(signal.SIGSTOP)
        goes_on = threading.Timer(0.3, server.send_signal, (signal.SIGCONT,))
        goes_on.start()
        flags = ("--uri", "/1.bin", "--rate", "80000", "--warm-up", "0s", "--window", "2500us", *PATIENCE)
        summary = lab.loadgen(*flags, "--initial-rto", "100ms", sanitize=False)
        goes_on.join()
    all_completed(summary, 190)
    assert summary["engine_counters"]["retransmissions"] > 100


def test_one_byte_workload_at_speed(lab: ClientLab, files: Path) -> None:
    with lab.userver(files):
        flags = ("--uri", "/1.bin", "--rate", "3000", "--warm-up", "200ms", "--window", "1s", "--timeout", "10s")
        summary = lab.loadgen(*flags, "--arrival", "exponential", sanitize=False)
    all_completed(summary, 3300)
    counters = summary["engine_counters"]
    if not counters["retransmissions"]:
        assert counters["frames_sent"] <= 4 * summary["completed"] + counters["peer_retransmissions"]
    assert counters["not_understood"] == counters["bad_checksums"] == 0


def test_nobody_answers_arp(lab: ClientLab) -> None:
    process = lab.program("loadgen", "--uri", "/x", "--rate", "1", target="10.99.0.77")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert '"type":"error"' in output
    assert "10.99.0.77" in errors
    assert subprocess.run(["ip", "netns", "pids", lab.client_space], capture_output=True, text=True).stdout == ""
    assert SERVER not in output
