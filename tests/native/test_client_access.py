"""loadgen and idleconn with links of the hosts' own, against a µserver: what TCP then sees, and what is counted."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.client_lab import ClientLab, Line, build, client_lab, finish, missing, stop

BIG = bytes(number % 251 for number in range(400_000))


@pytest.fixture(scope="module")
def lab() -> Iterator[ClientLab]:
    if missing():
        pytest.skip(str(missing()))
    with client_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docroot")
    (folder / "1.bin").write_bytes(b"x")
    (folder / "big.bin").write_bytes(BIG)
    return folder


def load(lab: ClientLab, root: Path, links: Path, text: str, *flags: str) -> Line:
    links.write_text(text)
    base = ["--warm-up", "300ms", "--window", "700ms", "--timeout", "10s", "--links", str(links)]
    with lab.userver(root):
        return lab.loadgen(*base, *flags)


def test_delays_of_both_directions_make_the_round_trip(lab: ClientLab, root: Path, tmp_path: Path) -> None:
    text = "1 down delay 40ms up delay 10ms\n"
    summary = load(lab, root, tmp_path / "links", text, "--uri", "/1.bin", "--rate", "200")
    window = summary["window"]
    connect = min(low for low, _ in window["connect_ns"]["buckets"])
    assert 49_900_000 < connect < 60_000_000
    assert window["completed"] == window["intended"]
    # Little's law: a one-byte connection is established for a round trip, and open for three.
    assert 200 * 0.05 * 0.95 < window["established_mean"] < 200 * 0.05 * 2
    assert window["open_mean"] > 2.5 * window["established_mean"] * 0.8
    assert window["established_max"] >= window["established_mean"]


def test_a_long_reply_comes_whole_over_a_bad_link_and_losses_are_counted(
    lab: ClientLab, root: Path, tmp_path: Path
) -> None:
    bad = "delay 3ms jitter 2ms loss 0.02 duplicate 0.02 corrupt 0.01"
    crc = f"{zlib.crc32(BIG):08x}"
    flags = ("--uri", "/big.bin", "--rate", "10", "--body-crc32", crc)
    summary = load(lab, root, tmp_path / "links", f"1 down {bad} up {bad}\n", *flags)
    assert summary["completed"] == summary["attempted"] == 10
    counters = summary["engine_counters"]
    links = counters["links"]
    assert links["down"]["frames"] > 10 * len(BIG) / 1460, "a frame of many segments is cut"
    for direction in ("down", "up"):
        for effect in ("lost", "duplicated", "corrupted"):
            assert links[direction][effect] > 0, (direction, effect)
    assert counters["bad_checksums"] > 0
    assert counters["peer_retransmissions"] + counters["duplicates"] > 0
    assert links["held_max"] > 0


def test_shares_of_the_hosts_have_their_links(lab: ClientLab, root: Path, tmp_path: Path) -> None:
    text = "3 down delay 100ms\n1\n"
    summary = load(lab, root, tmp_path / "links", text, "--uri", "/1.bin", "--rate", "400")
    connect = summary["window"]["connect_ns"]
    slow = sum(count for low, count in connect["buckets"] if low > 99_000_000)
    assert slow / connect["count"] == pytest.approx(0.75, abs=0.06)


def test_an_idle_population_stands_behind_its_links(lab: ClientLab, root: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.write_text("1 down delay 20ms loss 0.05 up delay 20ms loss 0.05\n")
    with lab.userver(root):
        process = lab.program("idleconn", "--connections", "200", "--links", str(links))
        assert process.stdout is not None
        assert any('"ready"' in line for line in process.stdout), "the population is never complete"
        summary = stop(process)[-1]
    assert summary["minimum_established"] == 200
    assert summary["engine_counters"]["links"]["up"]["lost"] > 0


@pytest.mark.parametrize(
    ("flags", "text", "message"),
    [
        ((), "1 down delay 5ms\n\n1 up loss 101\n", "links:3: up: loss: '101' is not allowed: a number from 0 to 1"),
        ((), "0\n", "links:1: share of the hosts: '0' is not allowed"),
        ((), "1 down delay 1ms jitter 2ms\n", "links:1: down: jitter is larger than delay"),
        ((), "\n", "no line says what share"),
        (("--engine", "socket"), "1\n", "the socket engine's hosts have no links of their own"),
        (("--hosts", "10.0.0.0/8"), "1\n", "at most 1048576 hosts can have links of their own"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, flags: tuple[str, ...], text: str, message: str) -> None:
    (tmp_path / "links").write_text(text)
    command = [str(build("loadgen")), "--target", "192.0.2.1", "--hosts", "10.77.0.0/24", "--uri", "/", "--rate", "1"]
    command += ["--links", str(tmp_path / "links"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = [build("loadgen"), "--target", "192.0.2.1", "--hosts", "10.77.0.0/24", "--uri", "/", "--rate", "1"]
    process = subprocess.Popen(
        [*map(str, command), "--links", str(tmp_path / "none")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    finish(process, status=2)
