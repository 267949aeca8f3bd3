"""Frame parser, reply parser and the whole TCP under libFuzzer, for a few seconds each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.native.client_lab import ENGINE_SOURCES, IMAGES, INCLUDES, LINK_SOURCES

HERE = Path(__file__).parent
SECONDS = 2
CLIENT = IMAGES / "client"
REPLY_SEEDS = [
    b"\0\0HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1",
    b"\0\0HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"\0\0HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 None\r\n\r\nto the end",
]
FRAME_SEEDS = [bytes(12) + b"\x08\x00" + b"\x45\0\0\x30" + bytes(5) + b"\x06" + bytes(22) + b"\x70\x02" + bytes(14)]
CONNECT = bytes([0, 0, 0, 2, 18, 0, 0, 200, 0, 5, 91, 1, 7, 7])
"""For client_fuzz_tcp.c: start a connection, answer its SYN, do nothing when it is connected."""
DATA, EARLY, LATE, FINISH = (
    bytes([0, 2, flags, at, 0, 200, 100, 9, 7]) for flags, at in ((24, 0), (16, 8), (16, 9), (17, 0))
)
TCP_SEEDS = [
    b"\0" + CONNECT + DATA * 4,
    b"\1" + CONNECT + DATA * 9 + FINISH,
    b"\0" + CONNECT + EARLY + DATA + LATE + DATA,
]

LINKS_SEEDS = [
    b"# kinds\n0.6 down delay 18.5ms rate 5660000 limit 117 up delay 18.5ms jitter 5ms distribution normal\n",
    b"1 up delay 2ms gemodel 0.01,0.25,1,0 duplicate 0.1 reorder 0.1 corrupt 0.1 correlation 0.5 seed 3 burst 10",
]

TARGETS = {
    "frame": ([CLIENT / "engine" / "packet_frame.c"], FRAME_SEEDS),
    "reply": ([CLIENT / "http_reply.c", CLIENT / "crc32.c"], REPLY_SEEDS),
    "tcp": (ENGINE_SOURCES, TCP_SEEDS),
    "links": (LINK_SOURCES, LINKS_SEEDS),
}


@pytest.mark.parametrize("name", TARGETS)
def test_fuzzed(name: str, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    sources, seeds = TARGETS[name]
    binary = tmp_path / name
    flags = ["-std=gnu11", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    sources_here = [str(HERE / f"client_fuzz_{name}.c"), *map(str, sources)]
    command = ["clang", *flags, *INCLUDES, *sources_here, "-lm", "-o", str(binary)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang has no libFuzzer here")
    assert built.returncode == 0, built.stderr
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    run = [
        str(binary),
        f"-max_total_time={SECONDS}",
        "-max_len=600",
        "-len_control=0",
        "-rss_limit_mb=1024",
        str(corpus),
    ]
    done = subprocess.run(run, capture_output=True, text=True, timeout=SECONDS + 60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
