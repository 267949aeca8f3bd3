"""The command line on each real runtime: by hand, interrupted, killed, and where there is no engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.runtime.base import Runtime
from tests.integration.conftest import available

NAME = f"cli{os.getpid()}"
TESTBED = (sys.executable, "-m", "testbed.cli")


@pytest.fixture(scope="module", params=["docker", "netns"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    chosen = available(request.param)
    if request.param == "docker":
        done = invoke("build", timeout_s=600)
        assert done.returncode == 0, done.stderr
    yield chosen
    chosen.remove(NAME)


def invoke(*arguments: str, timeout_s: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [*TESTBED, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **environment},
    )


def started_up(runtime: Runtime, things: int) -> subprocess.Popen[str]:
    """``testbed up`` in the middle of it: so many things stand. A process group, as a terminal gives it."""
    command = [*TESTBED, "up", "--lab", NAME, "--runtime", runtime.name]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    )
    deadline = time.monotonic() + 30
    while len(runtime.made(NAME)) < things:
        assert time.monotonic() < deadline, "nothing of the lab came up"
        time.sleep(0.01)
    return process


def test_a_lab_by_hand(runtime: Runtime) -> None:
    up = invoke("up", "--lab", NAME, "--runtime", runtime.name)
    assert up.returncode == 0, up.stderr
    assert "fast path:" in up.stdout
    status = json.loads(invoke("status", "--lab", NAME, "--json").stdout)
    assert {node["state"] for node in status["nodes"]} == {"running"}
    assert len(status["nodes"]) == 11
    again = invoke("up", "--lab", NAME, "--runtime", runtime.name)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert f"`testbed down --lab {NAME}` removes it" in again.stderr
    done = invoke("exec", "--lab", NAME, "server", "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")
    for expected in (f"lab {NAME} is down\n", f"no lab {NAME} stands\n"):
        down = invoke("down", "--lab", NAME)  # whatever it was made with
        assert (down.returncode, down.stdout) == (0, expected)
    assert runtime.made(NAME) == []


@pytest.mark.parametrize(("number", "things"), [(signal.SIGINT, 1), (signal.SIGTERM, 5), (signal.SIGHUP, 3)])
def test_an_interrupted_up_leaves_nothing(runtime: Runtime, number: signal.Signals, things: int) -> None:
    process = started_up(runtime, things)
    os.killpg(process.pid, number)
    time.sleep(0.05)
    os.killpg(process.pid, number)  # a second Ctrl-C must not leave half
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "testbed: interrupted"
    assert runtime.made(NAME) == []


@pytest.mark.parametrize("things", [1, 7])
def test_what_a_killed_up_left_is_found_and_removed(runtime: Runtime, things: int) -> None:
    process = started_up(runtime, things)
    process.kill()
    process.communicate(timeout=60)
    assert NAME in json.loads(invoke("status", "--all", "--json").stdout)
    assert invoke("status", "--lab", NAME, "--runtime", runtime.name).returncode == 2
    # `down --all` does this for every lab that `status --all` lists; others share this machine, so here it is one.
    down = invoke("down", "--lab", NAME, "--runtime", runtime.name)
    assert down.returncode == 0, down.stderr
    assert runtime.made(NAME) == []
    assert not list(Path("/run/netns").glob(f"tb-*{NAME}*"))


def test_an_unknown_key_in_the_file_leaves_nothing_half_made(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(Path("compose.yaml").read_text().replace("  server:\n", "  server:\n    privileged: true\n"))
    done = invoke("up", "--lab", NAME, "--runtime", runtime.name, "--file", str(path))
    assert done.returncode == 2
    assert done.stderr == "testbed: compose.yaml: services.server.privileged: unknown or unsupported key\n"
    assert runtime.made(NAME) == []


@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
def test_the_doctor_finds_this_machine_able(runtime: Runtime) -> None:
    done = invoke("doctor", "--json")
    found = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert done.returncode == 0
    assert {"engine", "container", "AF_PACKET", "nofile", "netem", "tbf", "nfqueue", "steal"} <= set(found)
    assert found["AF_PACKET"]["state"] == "ok"
    assert "mechanisms" in found or any(name.startswith("mechanism ") for name in found)
    assert all(entry["fix"] for entry in found.values() if entry["state"] != "ok")
    assert not [made for made in runtime.made() if made.lab.startswith("doctor-")]


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
def test_without_an_engine_auto_takes_namespaces(runtime: Runtime, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/nonexistent.sock"
    up = invoke("up", "--lab", NAME, DOCKER_HOST=nowhere)
    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith(f"lab {NAME} (netns): ")
    down = invoke("down", "--lab", NAME, DOCKER_HOST=nowhere)
    assert (down.returncode, down.stdout) == (0, f"lab {NAME} is down\n"), down.stderr
    assert runtime.made(NAME) == []


TINY = """
from testbed import OneByte, Profile, Scenario, mechanisms

SCENARIO = Scenario(
    name="tiny",
    title="Tiny",
    sentence="It runs.",
    servers=mechanisms("epoll-lt"),
    workload=OneByte(),
    profiles={"quick": Profile(rates_per_s=(300,), warm_up_s=0.1, window_s=0.5)},
)
"""


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)
def test_without_an_engine_a_scenario_is_built_run_and_drawn(runtime: Runtime, tmp_path: Path) -> None:
    """From the programs to the figure, as `make demo` does it on a machine without Docker."""
    (tmp_path / "tiny.py").write_text(TINY)
    arguments = ["run", str(tmp_path / "tiny.py"), "--build", "--lab", NAME, "--results", str(tmp_path)]
    done = invoke(*arguments, timeout_s=300, DOCKER_HOST=f"unix://{tmp_path}/nonexistent.sock")
    assert done.returncode == 0, done.stderr
    (points,) = tmp_path.glob("tiny/*/points.jsonl")
    (record,) = map(json.loads, points.read_text().splitlines())
    assert (record["mechanism"], record["offered_per_s"]) == ("epoll-lt", 300)
    assert record["replies_per_s"] > 0
    assert list(points.parent.glob("figures/*"))
    assert runtime.made(NAME) == []


@pytest.mark.parametrize(
    "arguments", [["up", "--runtime", "docker"], ["build", "--runtime", "docker"], ["status", "--runtime", "docker"]]
)
def test_without_an_engine_it_is_one_line_and_3(arguments: list[str], tmp_path: Path) -> None:
    done = invoke(*arguments, DOCKER_HOST=f"unix://{tmp_path}/nonexistent.sock")
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("testbed: ")
    assert done.stderr.count("\n") == 1
    assert "to fix it: " in done.stderr


def test_compose_itself_accepts_the_default_world() -> None:
    """The file is a compose file: whoever has compose, the old program or the engine's plug-in, may use it."""
    plug_in = ["docker", "compose"]
    has_plug_in = subprocess.run([*plug_in, "version"], capture_output=True, check=False).returncode == 0
    if not has_plug_in and shutil.which("docker-compose") is None:
        pytest.skip("neither docker-compose nor `docker compose` is installed")
    compose = plug_in if has_plug_in else ["docker-compose"]
    done = subprocess.run(
        [*compose, "-f", "compose.yaml", "config", "--quiet"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
