"""The output of an engine's exec: none of it is lost, however early it comes."""

from __future__ import annotations

import http.client
import socket
import struct
from types import SimpleNamespace
from typing import Any

from testbed.runtime.docker_exec import _buffered, _frames


def test_output_that_comes_with_the_answer_s_header_is_read() -> None:
    here, engine = socket.socketpair()
    header = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
    engine.sendall(header + struct.pack(">BxxxL", 1, 5) + b"hello" + struct.pack(">BxxxL", 2, 4) + b"oops")
    engine.close()
    response = http.client.HTTPResponse(here)
    response.begin()
    stream: Any = response.fp.raw  # what the SDK hands out, and with it …
    stream._response = SimpleNamespace(raw=SimpleNamespace(_fp=response))  # … the answer
    assert list(_frames(_buffered(stream))) == [(1, b"hello"), (2, b"oops")]
    here.close()


def test_a_stream_of_another_transport_is_read_as_it_is() -> None:
    here, engine = socket.socketpair()
    engine.sendall(struct.pack(">BxxxL", 1, 5) + b"hello")
    engine.close()
    assert list(_frames(_buffered(here))) == [(1, b"hello")]
    here.close()
