"""Programs and engines that do not answer become one line, not a traceback."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import ImageNotFound

from testbed.errors import EnvironmentLack, RuntimeFault
from testbed.link import firewall
from testbed.runtime import docker_paths, netns_wiring


def never(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
    raise subprocess.TimeoutExpired(command, 20)


def test_a_tool_of_namespaces_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns_wiring, "find_tool", lambda name: f"/sbin/{name}")
    monkeypatch.setattr(subprocess, "run", never)
    with pytest.raises(RuntimeFault, match="ip netns add tb-a: has not ended after 20 s"):
        netns_wiring.add_namespace("", "tb-a")


def test_packet_rules_that_cannot_be_cleared_in_time_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/sbin/{name}")
    monkeypatch.setattr(subprocess, "run", never)
    monkeypatch.setattr(firewall, "inside", lambda _, action: action())
    assert firewall.clear("/proc/1/ns/net") == "/sbin/iptables has not ended after 20 s"
    assert firewall.ignore("/proc/1/ns/net", "10.0.0.0/24") == "/sbin/iptables has not ended after 20 s"


def test_an_engine_that_goes_away_while_routes_are_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise ConnectionError("Connection refused")

    images = SimpleNamespace(get=lambda tag: tag)
    client: Any = SimpleNamespace(images=images, containers=SimpleNamespace(run=run))
    monkeypatch.setattr(docker_paths, "image_tag", lambda name: name)
    with pytest.raises(RuntimeFault, match="routes to the emulated hosts: the container engine does not answer"):
        docker_paths.route_by_helper(client, "a", "server", {"10.128.0.0/16": "10.64.0.20"})


def test_a_missing_image_for_routes_is_looked_for_in_no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(tag: str) -> None:
        raise ImageNotFound(tag)

    client: Any = SimpleNamespace(images=SimpleNamespace(get=get))
    monkeypatch.setattr(docker_paths, "image_tag", lambda name: name)
    with pytest.raises(EnvironmentLack, match="the engine has no image link; to fix it: testbed build"):
        docker_paths.route_by_helper(client, "a", "server", {"10.128.0.0/16": "10.64.0.20"})
