"""Bad flags and traces: one line that says what is wrong and what is allowed, status 2. No privileges needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from testbed.engine.program_names import ARRIVALS, names_in
from tests.native.client_lab import build

TARGET = ("--target", "192.0.2.1", "--hosts", "10.1.0.0/16")
LOAD = (*TARGET, "--rate", "10", "--uri", "/x")
IDLE = (*TARGET, "--connections", "5")


def complaint(program: str, *flags: str) -> str:
    """The one line that a usage error prints."""
    done = subprocess.run([build(program), *flags], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--target is required"),
        (TARGET, "--rate is required"),
        ((*TARGET, "--rate", "10"), "one of --uri and --sessions"),
        ((*LOAD, "--sessions", "x"), "one of --uri and --sessions"),
        ((*LOAD, "--rate", "0"), "a number from 0.001"),
        ((*LOAD, "--rate", "-3"), "a number from 0.001"),
        ((*LOAD, "--arrival", "poisson"), "exponential"),
        ((*LOAD, "--engine", "quic"), "packet"),
        ((*LOAD, "--hosts", "10.1.0.0"), "a prefix like"),
        ((*LOAD, "--hosts", "10.1.0.0/7"), "a prefix like"),
        ((*LOAD, "--hosts", "192.0.2.0/24"), "contains the target"),
        ((*LOAD, "--target", "server"), "an IPv4 address"),
        ((*LOAD, "--port", "0"), "from 1 to 65535"),
        ((*LOAD, "--window", "5"), "a duration with its unit"),
        ((*LOAD, "--uri", "x"), "a path beginning with /"),
        ((*LOAD, "--uri", "/a b"), "without blanks"),
        ((*LOAD, "--body-crc32", "xyz"), "eight hexadecimal digits"),
        ((*LOAD, "--ring-frame-bytes", "1000"), "a power of two"),
        ((*LOAD, "--frobnicate"), "unknown flag '--frobnicate'"),
        ((*LOAD, "stray"), "'stray' is not a flag"),
    ],
)
def test_loadgen_refuses(flags: tuple[str, ...], says: str) -> None:
    assert says in complaint("loadgen", *flags)


def test_names_of_arrival_processes_are_those_of_their_files() -> None:
    allowed = complaint("loadgen", *LOAD, "--arrival", "poisson").strip()
    assert set(names_in(ARRIVALS)) <= set(re.split(r"\W+", allowed))
    for name in names_in(ARRIVALS):
        assert "--arrival" not in complaint("loadgen", *LOAD, "--arrival", name, "--engine", "quic")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (TARGET, "--connections is required"),
        ((*IDLE, "--connections", "0"), "from 1 to"),
        ((*IDLE, "--mode", "noisy"), "slow-reader"),
        ((*IDLE, "--mode", "slow-reader"), "needs --uri"),
        ((*IDLE, "--uri", "/x"), "slow-reader only"),
        ((*IDLE, "--give-up", "-1s"), "a duration with its unit"),
    ],
)
def test_idleconn_refuses(flags: tuple[str, ...], says: str) -> None:
    assert says in complaint("idleconn", *flags)


def test_trace_that_is_not_there(tmp_path: Path) -> None:
    message = complaint("loadgen", *TARGET, "--rate", "1", "--sessions", str(tmp_path / "none"))
    assert "No such file" in message


@pytest.mark.parametrize("program", ["loadgen", "idleconn"])
def test_help_names_every_flag(program: str) -> None:
    done = subprocess.run([build(program), "--help"], capture_output=True, text=True, timeout=20, check=True)
    for flag in ("--engine", "--target", "--hosts", "--interface", "--gateway-mac", "--initial-rto"):
        assert f"{flag} " in done.stdout


@pytest.mark.parametrize("program", ["loadgen", "idleconn"])
def test_interface_that_is_not_there_is_an_error_line(program: str) -> None:
    flags = LOAD if program == "loadgen" else IDLE
    command = [build(program), *flags, "--interface", "nowhere0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert '"type":"error"' in done.stdout
    assert "nowhere0" in done.stdout
