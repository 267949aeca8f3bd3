"""loadgen reads traces as testbed does: the same sessions, the same faults in the same words. No privileges needed."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from testbed.workload.trace import Request, Session, format_trace
from tests.native.client_lab import IMAGES, compiled
from tests.traces import BAD, GOOD, SESSIONS

SOURCES = [
    Path(__file__).with_name("client_trace.c"),
    *(IMAGES / "client" / name for name in ("session.c", "session_trace.c")),
    IMAGES / "common" / "options.c",
]
Batch = tuple[int, int, bytes]
"""Session, think time before it in ns, requests."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(SOURCES, tmp_path_factory.mktemp("reader") / "client_trace")


def read(reader: Path, text: str) -> subprocess.CompletedProcess[bytes]:
    trace = reader.with_name("trace")
    trace.write_bytes(text.encode())
    return subprocess.run([reader, trace], capture_output=True, timeout=20, check=False)


def batches(output: bytes) -> list[Batch]:
    found, stream = [], io.BytesIO(output)
    while line := stream.readline():
        session, think_ns, length = map(int, line.split())
        found.append((session, think_ns, stream.read(length)))
    return found


def expected(sessions: tuple[Session, ...]) -> list[Batch]:
    """As httperf does it, the first request of a burst goes alone, and the rest of the burst together."""
    found = []
    for number, session in enumerate(sessions):
        think_ns = 0
        for burst in session:
            first, *rest = burst.requests
            found.append((number, think_ns, on_the_wire(first)))
            found += [(number, 0, b"".join(map(on_the_wire, rest)))] if rest else []
            think_ns = int(burst.think_s * 1e9 + 0.5)
    return found


def on_the_wire(request: Request) -> bytes:
    body = (request.contents or "").encode()
    length = f"Content-Length: {len(body)}\r\n" if request.contents is not None else ""
    head = f"{request.method} {request.uri} HTTP/1.1\r\nUser-Agent: testbed-loadgen\r\nHost: server\r\n{length}\r\n"
    return head.encode() + body


@pytest.mark.parametrize(("text", "sessions"), GOOD)
def test_what_a_trace_says_is_read(reader: Path, text: str, sessions: tuple[Session, ...]) -> None:
    done = read(reader, text)
    assert done.returncode == 0, done.stderr
    assert batches(done.stdout) == expected(sessions)


@pytest.mark.parametrize(("text", "line", "says"), BAD)
def test_a_bad_line_is_named(reader: Path, text: str, line: int, says: str) -> None:
    done = read(reader, text)
    message = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"trace:{line}: " in message
    assert says in message


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sessions=SESSIONS)
def test_what_testbed_writes_is_read(reader: Path, sessions: tuple[Session, ...]) -> None:
    done = read(reader, format_trace(sessions))
    assert done.returncode == 0, done.stderr
    assert batches(done.stdout) == expected(sessions)
