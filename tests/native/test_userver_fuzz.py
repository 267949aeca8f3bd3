"""The request parser against what nobody would send: Hypothesis over the wire, libFuzzer on the function."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.native import userver_process
from tests.native.http_peer import Peer

FUZZ_SECONDS = 4

WORDS = st.sampled_from(
    [
        *(b"GET", b"HEAD", b"POST", b" ", b"  ", b"/1.bin", b"/none", b"/%2e%2e/x", b"/%zz", b"?", b"http://a/1.bin"),
        *(
            b"HTTP/1.1",
            b"HTTP/1.0",
            b"HTTP/2.0",
            b"HTTP/1.",
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"\r",
            b":",
            b"\t",
            b"\xff",
            b"\0",
        ),
        *(b"Host: a", b"Connection: close", b"Connection: keep-alive, foo", b"Content-Length: 0", b"Content-Length: 7"),
        *(b"Transfer-Encoding: chunked", b"X: " + b"y" * 3000, b"GET /1.bin HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]
)
TALK = st.lists(WORDS | st.binary(max_size=20), max_size=12).map(b"".join)

HEADER_LIMIT_BYTES = 8192
"""The longest request head that the server takes (docs/programs.md)."""


@pytest.fixture(scope="module", params=["epoll-lt", "epoll-et", "io_uring"])
def server(request: pytest.FixtureRequest, docroot: Path) -> Iterator[userver_process.Server]:
    binary = userver_process.build(sanitize=True)
    if reason := userver_process.unavailable(binary).get(request.param):
        pytest.skip(f"{request.param}: {reason}")
    with userver_process.start(request.param, docroot=docroot, binary=binary) as running:
        yield running
        assert running.counters_when("open_connections", 0)["open_connections"] == 0


def answer(server: userver_process.Server, pieces: list[bytes]) -> bytes:
    """All that the server says to these segments and the end of the stream."""
    said = b""
    with Peer(server.host, server.port) as peer:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.001)
            peer.send(piece)
        peer.finish_sending()
        while piece := peer.socket.recv(1 << 16):
            said += piece
    return said


def _refusals_alike(said: bytes, talk: bytes) -> bytes:
    """What is both malformed and too long may be refused for either: the first bytes may come alone, or all at once."""
    if len(talk) <= HEADER_LIMIT_BYTES:
        return said
    return re.sub(rb"HTTP/1\.1 4(00|31) .*", b"refused", said, flags=re.DOTALL)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(talk=TALK, cuts=st.lists(st.integers(0, 400), max_size=3))
def test_any_talk_is_answered_alike_however_it_is_cut(
    server: userver_process.Server, talk: bytes, cuts: list[int]
) -> None:
    whole = answer(server, [talk])
    edges = [0, *sorted(min(cut, len(talk)) for cut in cuts), len(talk)]
    cut = answer(server, [talk[a:b] for a, b in itertools.pairwise(edges)])
    assert _refusals_alike(cut, talk) == _refusals_alike(whole, talk)
    for status in whole.split(b"HTTP/1.1 ")[1:]:
        assert status[:3] in (b"200", b"400", b"404", b"413", b"431", b"501", b"505"), whole


def test_the_parser_survives_libfuzzer(tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    target = tmp_path / "fuzz_http"
    server = userver_process.IMAGES / "server"
    command = ["clang", "-g", "-O1", "-std=gnu11", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    command += [f"-I{server}", str(Path(__file__).with_name("fuzz_http.c")), str(server / "http.c"), "-o", str(target)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang is installed without libFuzzer")
    assert built.returncode == 0, built.stderr
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "plain").write_bytes(
        b"GET /1.bin?x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    (corpus / "absolute").write_bytes(b"HEAD http://a/%31.bin HTTP/1.0\r\nTransfer-Encoding: x\r\n\r\nGET /")
    command = [str(target), f"-max_total_time={FUZZ_SECONDS}", "-max_len=9000", "-seed=1", str(corpus)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
