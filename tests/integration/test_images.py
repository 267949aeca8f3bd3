"""Images: built once for what the sources are, and the base image from where it can be had."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from testbed import project
from testbed.errors import EnvironmentLack, RunError
from testbed.model.topology import Network, Node, Topology
from testbed.runtime import docker_images
from testbed.runtime.base import Runtime
from testbed.runtime.docker_engine import connect
from tests.integration.conformance_world import standing

UNIQUE = f"t{os.getpid()}"
BASE = f"testbed/base-{UNIQUE}:slim"

TINY_ARCHIVE = "mkdir -p $d/etc && echo made-here > $d/etc/origin && tar -C $d -c ."


@pytest.fixture(scope="module")
def client(docker_engine: Runtime) -> docker.DockerClient:
    return connect()


@pytest.fixture
def remove_images(client: docker.DockerClient) -> Iterator[Callable[[str], None]]:
    """Takes tags, and removes those images at the end if they were made."""
    tags: list[str] = []
    yield tags.append
    for tag in tags:
        if tag in tags_of(client):
            client.images.remove(tag, force=True)


def tags_of(client: docker.DockerClient) -> set[str]:
    return {tag for image in client.images.list() for tag in image.tags}


# The programs' images


def test_what_is_built_is_not_built_again(client: docker.DockerClient) -> None:
    said: list[str] = []
    tags = docker_images.build(said.append)
    assert {"server", "client", "link"} <= set(tags)
    assert set(tags.values()) <= tags_of(client)
    assert said == []


@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [
        ("server", ["userver", "--list-mechs"], b"epoll-lt\n"),
        ("client", ["loadgen", "--help"], b"--rate"),
        ("client", ["idleconn", "--help"], b"--port"),
        ("link", ["ip", "-V"], b"iproute2"),
        ("link", ["tcpdump", "--version"], b"tcpdump"),
        ("link", ["iptables", "-V"], b"iptables"),
        ("original", ["httperf", "--version"], b"httperf"),
        ("peers/nginx", ["nginx", "-t", "-c", "/etc/testbed/nginx.conf"], b"test is successful"),
        ("peers/lighttpd", ["lighttpd", "-tt", "-f", "/etc/testbed/lighttpd.conf"], b""),
    ],
)
def test_an_image_has_its_programs(
    client: docker.DockerClient, image: str, command: list[str], expected: bytes
) -> None:
    tag = docker_images.ensure_image(client, build_from(image), lambda _: None)
    said = client.containers.run(tag, command, remove=True, stderr=True, network_mode="none")
    assert expected in said


def build_from(image: str) -> str:
    """As scenarios name it: a folder of ``images/`` by its name, any other by its path."""
    return str(project.images_folder() / image) if "/" in image else image


def test_debians_idleconn_holds_connections_to_the_userver(client: docker.DockerClient) -> None:
    server = client.containers.run(
        docker_images.image_tag("server"),
        ["userver", "--mech", "epoll-lt", "--bind", "127.0.0.1", "--port", "8080", "--docroot", "/etc"],
        detach=True,
        network_mode="none",
    )
    idle = None
    try:
        idle = client.containers.run(
            docker_images.ensure_image(client, "original", lambda _: None),
            ["idleconn", "127.0.0.1", "8080", "50"],
            detach=True,
            network_mode=f"container:{server.id}",
        )
        until = time.monotonic() + 20
        while (held := established(server)) < 50 and time.monotonic() < until:
            time.sleep(0.1)
        assert held == 50, idle.logs()
        time.sleep(0.5)
        assert established(server) == 50
    finally:
        for container in (idle, server):
            if container is not None:
                container.remove(force=True)


def established(server: Container) -> int:
    """Connections that the server's end of the loopback holds."""
    said = server.exec_run(["cat", "/proc/net/tcp"]).output
    assert isinstance(said, bytes)
    table = said.decode().splitlines()[1:]
    states = [(line.split()[1].partition(":")[2], line.split()[3]) for line in table]
    return states.count((f"{8080:04X}", "01"))


def test_a_programs_image_has_no_compiler(client: docker.DockerClient) -> None:
    script = "command -v gcc make; true"
    for name in ("server", "client"):
        assert client.containers.run(docker_images.image_tag(name), ["sh", "-c", script], remove=True) == b""


def test_the_tag_follows_the_sources_and_nothing_else(tmp_path: Path) -> None:
    folder = written(tmp_path / "own", "FROM debian:bookworm-slim\n")
    first = docker_images.image_tag(str(folder))
    assert first.startswith("testbed/own:")
    os.utime(folder / "Dockerfile", (1, 1))
    assert docker_images.image_tag(str(folder)) == first
    (folder / "more").write_text("more")
    second = docker_images.image_tag(str(folder))
    (folder / "more").rename(folder / "moor")
    assert len({first, second, docker_images.image_tag(str(folder))}) == 3


def test_what_is_built_outside_of_containers_does_not_change_a_tag() -> None:
    folder = project.images_folder() / "build"
    before = docker_images.image_tag("server")
    folder.mkdir(exist_ok=True)
    probe = folder / f"probe-{UNIQUE}"
    probe.write_text("x")
    try:
        assert docker_images.image_tag("server") == before
    finally:
        probe.unlink()


def written(folder: Path, dockerfile: str) -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def test_a_failed_build_says_why(client: docker.DockerClient, tmp_path: Path) -> None:
    folder = written(tmp_path / f"bad-{UNIQUE}", "FROM debian:bookworm-slim\nRUN echo no luck: error 17 >&2 && false\n")
    with pytest.raises(RunError, match="error 17"):
        docker_images.ensure_image(client, str(folder), lambda text: None)
    assert docker_images.image_tag(str(folder)) not in tags_of(client)


def test_a_folder_without_a_dockerfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLack, match="Dockerfile"):
        docker_images.image_tag(str(tmp_path))


def test_what_is_there_is_not_built_again(
    client: docker.DockerClient, tmp_path: Path, remove_images: Callable[[str], None]
) -> None:
    recipe = "FROM debian:bookworm-slim\nRUN cat /proc/sys/kernel/random/uuid > /made\n"
    folder = str(written(tmp_path / f"again-{UNIQUE}", recipe))
    tag = docker_images.ensure_image(client, folder, lambda text: None)
    remove_images(tag)
    first = client.images.get(tag).id
    said: list[str] = []
    docker_images.ensure_image(client, folder, said.append)
    assert client.images.get(tag).id == first
    assert said == []


# What a node says about its image


def create(runtime: Runtime, **image: str) -> None:
    """A node with that image, alone on a network; it is removed again."""
    topology = Topology(networks=(Network(name="net"),), nodes=(Node(name="node", networks=("net",), **image),))
    with standing(runtime, UNIQUE, topology):
        assert runtime.run(UNIQUE, "node", ["cat", "/etc/own"]).stdout == "own\n"


def test_an_image_that_is_not_there_says_how_to_get_it(docker_engine: Runtime) -> None:
    with pytest.raises(EnvironmentLack, match=r"testbed/nowhere:1.*docker pull testbed/nowhere:1"):
        create(docker_engine, image="testbed/nowhere:1")


def test_a_programs_image_that_is_not_built_names_the_verb(
    docker_engine: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    (images / "server").mkdir(parents=True)
    (images / "Makefile").write_text(f"# {UNIQUE}")
    (images / "server" / "main.c").write_text("")
    (images / "server" / "Dockerfile").write_text("FROM scratch")
    monkeypatch.setattr(docker_images, "images_folder", lambda: images)
    with pytest.raises(EnvironmentLack, match=r"testbed/server:.*testbed build"):
        create(type(docker_engine)(), image="testbed/server", build="server")


def test_ones_own_dockerfile_is_built_when_it_is_first_used(
    docker_engine: Runtime, tmp_path: Path, remove_images: Callable[[str], None]
) -> None:
    folder = written(tmp_path / f"own-{UNIQUE}", "FROM debian:bookworm-slim\nRUN echo own > /etc/own\n")
    remove_images(docker_images.image_tag(str(folder)))
    create(docker_engine, image="own", build=str(folder))


# The base image


@pytest.fixture
def no_base(
    client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch, remove_images: Callable[[str], None]
) -> docker.DockerClient:
    """An engine without the base image, and a registry that says nothing."""

    def silence(_: object) -> Iterator[dict[str, str]]:
        time.sleep(30)
        yield {}

    monkeypatch.setattr(docker_images, "BASE_IMAGE", BASE)
    monkeypatch.setattr(docker_images, "_PULL_SILENCE_S", 0.5)
    monkeypatch.setattr(docker_images, "_pull_events", silence)
    remove_images(BASE)
    return client


def tool(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of that name where it is found first."""
    path = folder / name
    path.write_text(f"#!/bin/sh\nd=$(mktemp -d)\ntrap 'rm -rf $d' EXIT\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_where_no_registry_answers_it_is_made(
    no_base: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path, "mmdebstrap", f'[ "$*" = "--quiet --variant=minbase bookworm -" ] && {TINY_ARCHIVE}', monkeypatch)
    said: list[str] = []
    began = time.monotonic()
    docker_images.ensure_base_image(no_base, said.append)
    assert time.monotonic() - began < 20
    assert any("no registry gives" in line for line in said)
    assert BASE in tags_of(no_base)
    assert f"{BASE}-in-the-making" not in tags_of(no_base)
    said.clear()
    docker_images.ensure_base_image(no_base, said.append)
    assert said == []


def test_debootstrap_will_do(no_base: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found alone on the path: no mmdebstrap."""
    for name in ("sh", "mktemp", "tar", "rm", "mkdir"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    script = '[ "$1 $2" = "--variant=minbase bookworm" ] && mkdir "$3/etc" && echo made-here > "$3/etc/origin"'
    tool(tmp_path, "debootstrap", script, monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    docker_images.ensure_base_image(no_base, lambda text: None)
    assert BASE in tags_of(no_base)


def test_a_registrys_refusal_is_not_waited_for(
    no_base: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_images, "_PULL_SILENCE_S", 30)
    monkeypatch.setattr(docker_images, "_pull_events", lambda _: iter([{"error": "toomanyrequests"}]))
    tool(tmp_path, "mmdebstrap", TINY_ARCHIVE, monkeypatch)
    said: list[str] = []
    docker_images.ensure_base_image(no_base, said.append)
    assert any("toomanyrequests" in line for line in said)
    assert BASE in tags_of(no_base)


@pytest.mark.parametrize("written_before", ["true", TINY_ARCHIVE])
def test_a_maker_that_fails_leaves_no_half_image(
    no_base: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_before: str
) -> None:
    script = f"{written_before}; echo E: no mirror answers >&2; exit 25"
    tool(tmp_path, "mmdebstrap", script, monkeypatch)
    with pytest.raises(RunError, match="no mirror answers"):
        docker_images.ensure_base_image(no_base, lambda text: None)
    assert not {BASE, f"{BASE}-in-the-making"} & tags_of(no_base)


def test_without_means_it_says_what_to_install(
    no_base: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentLack, match="apt-get install mmdebstrap"):
        docker_images.ensure_base_image(no_base, lambda text: None)
