"""The HTTP suite over every mechanism, on the sanitized build; one server process for all cases of a mechanism."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native import http_suite, userver_process

DROPPED_IN = ("one-event", "stale")  # tests/native/mechanisms


@pytest.fixture(scope="module", params=[*userver_process.mechanism_names(), *DROPPED_IN])
def server(request: pytest.FixtureRequest, docroot: Path) -> Iterator[userver_process.Server]:
    binary = userver_process.build(sanitize=True)
    if request.param in DROPPED_IN:
        binary = userver_process.build(sanitize=True, extra=Path(__file__).parent / "mechanisms", name="extra")
    if reason := userver_process.unavailable(binary).get(request.param):
        pytest.skip(f"{request.param}: {reason}")
    with userver_process.start(request.param, docroot=docroot, binary=binary) as running:
        yield running
        counters = running.counters_when("open_connections", 0)
        ended = counters["closed_by_peer"] + counters["closed_by_server"] + counters["resets"]
        assert counters["accepted"] == ended + counters["open_connections"]
        assert counters["open_connections"] == 0, "a connection was forgotten"


@pytest.mark.parametrize("name", http_suite.CASES)
def test_http(server: userver_process.Server, name: str) -> None:
    http_suite.CASES[name](server.host, server.port)
