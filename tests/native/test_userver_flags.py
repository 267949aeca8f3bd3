"""What the µserver refuses, and how it says so."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from testbed.engine.program_names import MECHANISMS, names_in
from tests.native import userver_process
from tests.native.http_peer import Peer

BAD_FLAGS = [
    (["--mech", "kqueue"], "'kqueue' is not a mechanism"),
    (["--accept-limit", "0"], "--accept-limit"),
    (["--accept-limit", "-1"], "--accept-limit"),
    (["--accept-limit", "many"], "--accept-limit"),
    (["--max-connections", "0"], "--max-connections"),
    (["--backlog", "0"], "--backlog"),
    (["--port", "65536"], "--port"),
    (["--bind", "localhost"], "--bind"),
    (["--bind", "127.0.0.1,"], "--bind"),
    (["--bind", "127.0.0.1,127.0.0.1"], "--bind"),
    (["--interval", "1"], "--interval"),
    (["--frobnicate"], "--frobnicate"),
    (["--probe"], "--list-mechs"),
    (["stray"], "stray"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS)
def test_bad_flags_are_one_line_and_status_2(docroot: Path, flags: list[str], message: str) -> None:
    command = [str(userver_process.build()), "--docroot", str(docroot), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert message in done.stderr


def test_docroot_is_required() -> None:
    done = subprocess.run([userver_process.build()], capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--docroot is required" in done.stderr


def test_a_mechanism_is_asked_for_room_for_all_connections(docroot: Path) -> None:
    """aio-poll: before a point, not at it."""
    if int(Path("/proc/sys/fs/aio-max-nr").read_text()) >= 1_000_000:
        pytest.skip("fs.aio-max-nr has room for more connections than can be asked for")
    reason = "fs.aio-max-nr has no room for so many connections"
    most = ["--max-connections", "1000000"]
    asked = subprocess.run(
        [userver_process.build(), "--list-mechs", "--probe", *most], capture_output=True, text=True, timeout=10
    )
    assert f"aio-poll unavailable: {reason}" in asked.stdout.splitlines()
    assert "epoll-lt ok" in asked.stdout.splitlines()
    command = [str(userver_process.build()), "--mech", "aio-poll", "--docroot", str(docroot), "--port", "0", *most]
    started = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert started.returncode == 1
    assert started.stderr == f"userver: mechanism aio-poll is not available: {reason}\n"


def test_what_cannot_be_served_is_an_error_line(docroot: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    huge.mkdir()
    with (huge / "file").open("wb") as file:
        file.truncate(1 << 42)  # a hole: takes no space
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        for flags, message in (
            (["--docroot", str(tmp_path / "none")], "No such file"),
            (["--docroot", __file__], "Not a directory"),
            (["--docroot", str(huge)], "does not fit into memory"),
            (
                ["--docroot", str(docroot), "--bind", "127.0.0.1", "--port", taken],
                f"127.0.0.1:{taken}: Address already",
            ),
            (["--docroot", str(docroot), "--bind", "192.0.2.77"], "192.0.2.77"),
        ):
            command = [str(userver_process.build()), *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            assert done.returncode == 1, done
            assert done.stdout.startswith('{"type":"error"')
            assert message in done.stdout


def test_names_of_mechanisms_are_those_of_their_files() -> None:
    done = subprocess.run([userver_process.build(), "--list-mechs"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == userver_process.mechanism_names() == names_in(MECHANISMS)


def test_help_is_complete() -> None:
    text = subprocess.run([userver_process.build(), "--help"], capture_output=True, text=True, check=True).stdout
    for flag in [
        "mech",
        "bind",
        "port",
        "docroot",
        "accept-limit",
        "backlog",
        "max-connections",
        "accept4",
        "profile",
        "interval",
        "list-mechs",
    ]:
        assert f"--{flag} " in text


def test_every_build_is_free_of_warnings() -> None:
    """clang, if it is there: warnings are errors in every build."""
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    binary = userver_process.build(compiler="clang", name="clang")
    done = subprocess.run([binary, "--list-mechs"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == userver_process.mechanism_names()


def test_a_mechanism_is_one_file(docroot: Path) -> None:
    """Files dropped in from the tests' own folder: listed, chosen by name, checked at start."""
    folder = Path(__file__).parent / "mechanisms"
    binary = str(userver_process.build(sanitize=True, extra=folder, name="extra"))
    done = subprocess.run([binary, "--list-mechs"], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {
        *userver_process.mechanism_names(),
        "one-event",
        "stale",
        "incomplete",
        "io_uring-multishot",
    }
    with userver_process.start("one-event", docroot=docroot, binary=Path(binary)) as server:
        with Peer(server.host, server.port) as peer:
            peer.get("/1.bin")
            assert peer.reply().body == b"x"
        assert server.counters_when("open_connections", 0)["events_per_wait"]["max"] == 1
        assert server.stop()["syscalls"]["one_event_poll"]["calls"] > 0
    command = [binary, "--mech", "incomplete", "--docroot", str(docroot)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "incomplete lacks a required operation: add" in done.stderr
