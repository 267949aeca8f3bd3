"""Seccomp profiles of nodes: what one refuses is named and skipped, as under Docker Engine 25 and later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.engine import inside
from testbed.errors import InputError, UsageError
from testbed.runtime.base import Runtime
from testbed.runtime.docker_seccomp import seccomp_option
from testbed.store.reading import find_runs, read_run
from testbed.topology.compose import load_compose
from tests.integration.conftest import available

ROOT = Path(__file__).parents[2]
WITHOUT_IO_URING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {
            "names": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
        }
    ],
}
"""What newer engines' own profile does to io_uring."""

SHORT = ("--set", "warm_up_s=0.1", "--set", "window_s=0.3", "--set", "rates_per_s=[500]")


def world(folder: Path, profile: str) -> Path:
    """The default world, with this seccomp profile for its server."""
    text = (ROOT / "compose.yaml").read_text()
    path = folder / "compose.yaml"
    path.write_text(text.replace("  server:\n", f"  server:\n    security_opt: ['seccomp={profile}']\n"))
    return path


@pytest.fixture
def refusing(tmp_path: Path) -> Path:
    (tmp_path / "profile.json").write_text(json.dumps(WITHOUT_IO_URING))
    return world(tmp_path, "profile.json")


@pytest.fixture
def lab(docker_engine: Runtime) -> Iterator[str]:
    name = f"t-seccomp-{uuid.uuid4().hex[:8]}"
    yield name
    docker_engine.remove(name)


def cli(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "testbed.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def test_a_scenario_skips_what_is_refused_and_says_why(refusing: Path, lab: str, tmp_path: Path) -> None:
    chosen = ("--set", "mechanisms=[epoll-lt, epoll-ctlv]")
    where = ("--file", refusing, "--lab", lab, "--runtime", "docker", "--results", tmp_path)
    done = cli("run", ROOT / "scenarios" / "figure_1.py", *SHORT, *chosen, *where)
    assert done.returncode == 0, done.stderr
    said = [line for line in (done.stdout + done.stderr).splitlines() if "epoll-ctlv" in line and "EPERM" in line]
    assert said, done.stdout + done.stderr
    (folder,) = find_runs(tmp_path, "figure_1")
    run = read_run(folder)
    assert {record.mechanism for record in run.records} == {"epoll-lt"}
    assert "io_uring is refused here (EPERM" in run.manifest.skipped["epoll-ctlv"]


def test_a_scenario_of_nothing_else_fails_and_says_why(refusing: Path, lab: str, tmp_path: Path) -> None:
    where = ("--file", refusing, "--lab", lab, "--runtime", "docker", "--results", tmp_path)
    done = cli("run", ROOT / "scenarios" / "figure_1.py", *SHORT, "--set", "mechanisms=[io_uring]", *where)
    assert done.returncode == 1
    assert "none of the scenario's servers can run here: io_uring: io_uring is refused here (EPERM" in done.stderr


def test_the_doctor_names_each_refused_mechanism(
    docker_engine: Runtime, refusing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "default_topology", lambda: load_compose(refusing))
    found = {finding.name: finding for finding in inside.probe_inside(docker_engine, built=True)}
    for name in ("io_uring", "epoll-ctlv"):
        assert found[f"mechanism {name}"].state == "lack"
        assert "EPERM" in found[f"mechanism {name}"].what
        assert "seccomp=images/server/seccomp.json" in found[f"mechanism {name}"].fix
    assert not [made for made in docker_engine.made() if made.lab == f"doctor-{os.getpid()}"]


def test_our_own_profile_allows_io_uring_and_refuses_what_a_server_has_no_business_with(
    docker_engine: Runtime, tmp_path: Path, lab: str
) -> None:
    path = world(tmp_path, str(ROOT / "images" / "server" / "seccomp.json"))
    up = cli("up", "--file", path, "--lab", lab, "--runtime", "docker")
    assert up.returncode == 0, up.stderr
    done = docker_engine.run(lab, "server", ["userver", "--list-mechs", "--probe"])
    assert {line.split(" ", 1)[1] for line in done.stdout.splitlines()} == {"ok"}
    refused = docker_engine.run(lab, "server", ["unshare", "--user", "true"])
    assert "Operation not permitted" in refused.stderr
    status = docker_engine.run(lab, "server", ["grep", "Seccomp:", "/proc/self/status"])
    assert status.stdout.split() == ["Seccomp:", "2"]


def test_without_an_engine_a_profile_is_refused_and_not_ignored(refusing: Path, lab: str) -> None:
    available("netns")
    done = cli("up", "--file", refusing, "--lab", lab, "--runtime", "netns")
    assert done.returncode == 2
    said = "testbed: node 'server': seccomp profiles need the docker runtime; without an engine none applies"
    assert done.stderr.splitlines()[-1] == said


def test_a_profile_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[]")
    with pytest.raises(InputError, match=r"a, seccomp profile of web: is not JSON with a defaultAction"):
        seccomp_option("web", str(tmp_path / "a"))
    with pytest.raises(UsageError, match=r"none, seccomp profile of web: cannot be read: No such file"):
        seccomp_option("web", str(tmp_path / "none"))
