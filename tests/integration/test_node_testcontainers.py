"""One node alone, driven by testcontainers: the server's image is an ordinary image that anybody's tools can run."""

from __future__ import annotations

import os

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"  # read at import; its image cannot be had without a registry

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from docker.types import Mount
from testcontainers.core.container import DockerContainer

from testbed.errors import EnvironmentLack
from testbed.runtime.docker_engine import connect
from testbed.runtime.docker_images import ensure_image

PORT = 8080
BODY = b"x" * 1000


@pytest.fixture(scope="module")
def image() -> str:
    """The tag of the server's image, made of the present sources."""
    try:
        client = connect()
    except EnvironmentLack as lack:
        if os.environ.get("CI") == "true":
            pytest.fail(str(lack))
        pytest.skip(str(lack))
    return ensure_image(client, "server", lambda text: None)


@pytest.fixture(scope="module")
def node(image: str) -> Iterator[DockerContainer]:
    """The server as the world has it: no capabilities, a read-only root, the documents on a tmpfs."""
    mounts = [Mount(target=folder, source=None, type="tmpfs") for folder in ("/srv", "/tmp")]
    container = DockerContainer(image, cap_drop=["ALL"], read_only=True, mounts=mounts)
    with container.with_command("sleep infinity").with_exposed_ports(PORT) as started:
        made = started.exec(["sh", "-c", f"head -c {len(BODY)} /dev/zero | tr '\\0' x > /srv/1.bin"])
        assert made.exit_code == 0, made.output
        yield started


def wait_for_line(node: DockerContainer, kind: str) -> dict[str, Any]:
    """The line of that type that the server printed."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for text in node.exec(["cat", "/tmp/out"]).output.decode().splitlines():
            line: dict[str, Any] = json.loads(text)
            if line["type"] == kind:
                return line
        time.sleep(0.02)
    raise AssertionError(node.exec(["cat", "/tmp/err"]).output)


@pytest.fixture(scope="module", params=["select", "epoll-lt"])
def server(node: DockerContainer, request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The µserver with a mechanism, ready: its host and port as seen from here."""
    mechanism: str = request.param
    arguments = f"--mech {mechanism} --bind 0.0.0.0 --port {PORT} --docroot /srv --accept-limit inf --backlog 128"
    script = f"userver {arguments} --max-connections 100 > /tmp/out 2> /tmp/err & echo $! > /tmp/pid"
    assert node.exec(["sh", "-c", script]).exit_code == 0
    wait_for_line(node, "ready")
    yield node.get_container_host_ip(), int(node.get_exposed_port(PORT))
    assert node.exec(["sh", "-c", "kill -TERM $(cat /tmp/pid)"]).exit_code == 0
    summary = wait_for_line(node, "summary")
    assert summary["mechanism"] == mechanism
    assert summary["replies"] >= 2


def test_it_serves_a_document_over_one_connection(server: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*server, timeout=10)
    for _ in range(2):
        connection.request("GET", "/1.bin")
        reply = connection.getresponse()
        assert (reply.status, reply.read()) == (200, BODY)
    connection.close()


def test_it_says_what_it_does_not_have(server: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*server, timeout=10)
    connection.request("GET", "/nowhere")
    assert connection.getresponse().status == 404
    connection.close()


def test_it_lists_its_mechanisms(node: DockerContainer) -> None:
    listed = node.exec(["userver", "--list-mechs"])
    assert listed.exit_code == 0
    assert {"select", "poll", "epoll-lt"} <= set(listed.output.decode().split())
