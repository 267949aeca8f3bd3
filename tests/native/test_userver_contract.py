"""Each mechanism by itself against the contract in mechanism.h, and what becomes of one that the system refuses."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from tests.native import userver_process

MECHANISMS = Path(__file__).parent / "mechanisms"


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The contract's program, linked with all of a sanitized server but its main."""
    binary = userver_process.build(sanitize=True, extra=MECHANISMS, name="extra")
    objects = [path for path in (binary.parent / "objects").rglob("*.o") if path.name not in ("main.o", "faults.o")]
    target = tmp_path_factory.mktemp("contract") / "mechanism_contract"
    command = ["cc", "-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    command += [f"-I{userver_process.IMAGES / folder}" for folder in ("server", "common")]
    command += [str(Path(__file__).with_name("mechanism_contract.c")), *map(str, objects), "-o", str(target), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return str(target)


@pytest.mark.parametrize("mechanism", [*userver_process.mechanism_names(), "one-event"])
def test_contract(contract: str, mechanism: str) -> None:
    if mechanism == "io_uring":
        pytest.skip("reports completions, not readiness: the HTTP suite is its contract test")
    if reason := userver_process.unavailable(userver_process.build(sanitize=True)).get(mechanism):
        pytest.skip(f"{mechanism}: {reason}")
    done = subprocess.run([contract, mechanism], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def refuse_io_uring() -> None:
    """Makes io_uring_setup fail with EPERM from here on, as newer container engines do (seccomp)."""
    load, jump_equal, answer = 0x20, 0x15, 0x06
    instructions = [
        struct.pack("HBBI", load, 0, 0, 0),  # the number of the call
        struct.pack("HBBI", jump_equal, 0, 1, 425),  # io_uring_setup
        struct.pack("HBBI", answer, 0, 0, 0x00050000 | 1),  # errno EPERM
        struct.pack("HBBI", answer, 0, 0, 0x7FFF0000),  # allow
    ]
    code = ctypes.create_string_buffer(b"".join(instructions))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):  # no new privileges; seccomp filter
        raise OSError(ctypes.get_errno(), "seccomp")


def test_a_refused_mechanism_is_named_and_not_replaced(docroot: Path) -> None:
    binary = str(userver_process.build())
    done = subprocess.run(
        [binary, "--list-mechs", "--probe"], capture_output=True, text=True, check=True, preexec_fn=refuse_io_uring
    )
    verdicts = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert list(verdicts) == userver_process.mechanism_names()
    for name, verdict in verdicts.items():
        if name in ("io_uring", "epoll-ctlv"):
            assert verdict.startswith("unavailable: io_uring is refused here (EPERM"), verdict
        elif name != "aio-poll":
            assert verdict == "ok"
    done = subprocess.run(
        [binary, "--mech", "epoll-ctlv", "--docroot", str(docroot)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        preexec_fn=refuse_io_uring,
    )
    assert done.returncode == 1
    assert '"type":"error"' in done.stdout
    assert "epoll-ctlv" in done.stdout
    assert "EPERM" in done.stdout
