"""Anyone's server in place of the µserver: the documented example, other people's, and ones that fail."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.model.record import Record
from testbed.runtime.base import Runtime
from testbed.runtime.docker_engine import connect
from testbed.runtime.docker_images import ensure_image, image_tag
from testbed.store.reading import find_runs, read_run
from tests.integration.conftest import available

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "python_server"
SHORT = ("--set", "warm_up_s=0.2", "--set", "window_s=0.5", "--set", "rates_per_s=[200]")

OWN = """
from testbed import PROFILES, OneByte, Scenario, ServerImage
SCENARIO = Scenario(
    name="own", title="Own", sentence="It serves.", workload=OneByte(), profiles=PROFILES,
    servers=(ServerImage(name="own", ready_timeout_s=3, {settings}),),
)
"""


@pytest.fixture
def lab(docker_engine: Runtime) -> Iterator[str]:
    name = f"t-own-{uuid.uuid4().hex[:8]}"
    yield name
    docker_engine.remove(name)


@pytest.fixture(scope="module")
def image(docker_engine: Runtime) -> str:
    """The tag of the example's image, built."""
    return ensure_image(connect(), str(EXAMPLE), lambda text: None)


def run(scenario: Path, lab: str, results: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "testbed.cli",
        "run",
        str(scenario),
        *SHORT,
        "--lab",
        lab,
        "--results",
        str(results),
    ]
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=300, check=False)


def own(folder: Path, settings: str) -> Path:
    """A scenario file with one server of these settings."""
    path = folder / "own.py"
    path.write_text(OWN.format(settings=settings))
    return path


def records(results: Path, scenario: str) -> dict[str, Record]:
    (folder,) = find_runs(results, scenario)
    return {record.label: record for record in read_run(folder).records}


def test_the_documented_example_is_the_one_that_ships() -> None:
    text = (ROOT / "docs" / "own_server.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert (EXAMPLE / "scenario.py").read_text().endswith(block)
    (command,) = re.findall(r"```\n(testbed run .*?)\n```", text, re.DOTALL)
    assert (ROOT / command.split()[2]).samefile(EXAMPLE / "scenario.py")


@pytest.mark.timeout(400)
def test_the_documented_example_runs(lab: str, tmp_path: Path) -> None:
    done = run(EXAMPLE / "scenario.py", lab, tmp_path, "--runtime", "docker")
    assert done.returncode == 0, done.stderr
    for label, record in records(tmp_path, "python_server").items():
        assert record.replies_per_s == pytest.approx(200, rel=0.3), label
        assert record.server_cpu_us_per_reply is not None
        assert record.server_cpu_us_per_reply > 0
        assert bool(record.raw["server_after"]) == (label == "epoll-lt"), "only the µserver has counters"
    (folder,) = find_runs(tmp_path, "python_server")
    assert read_run(folder).manifest.programs["image-python"].tag == image_tag(str(EXAMPLE))


@pytest.mark.timeout(600)
def test_other_peoples_servers_answer_beside_idle_connections(lab: str, tmp_path: Path) -> None:
    done = run(ROOT / "scenarios" / "peers.py", lab, tmp_path, "--runtime", "docker", "--set", "idle_connections=100")
    assert done.returncode == 0, done.stderr
    found = records(tmp_path, "peers")
    assert set(found) == {"epoll-lt", "nginx", "lighttpd"}
    for label, record in found.items():
        assert record.replies_per_s == pytest.approx(200, rel=0.3), label
        assert record.idle_connections_minimum == 100, label
        assert not any(record.errors.model_dump().values()), label


def test_an_image_by_its_tag_with_port_path_and_documents_of_its_own(lab: str, image: str, tmp_path: Path) -> None:
    serve = ("python3", "-m", "http.server", "8080", "--protocol", "HTTP/1.1", "--directory", "/www")
    settings = f"image={image!r}, command={serve!r}, port=8080, documents='/www', ready_path='/1.bin'"
    done = run(own(tmp_path, settings), lab, tmp_path, "--runtime", "docker")
    assert done.returncode == 0, done.stderr
    assert records(tmp_path, "own")["own"].replies_per_s > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("command=('sh', '-c', 'echo no configuration >&2; exit 4')", "own ended at its start: no configuration"),
        ("command=('sleep', '60'), port=81", r"own was not ready within 3 s \(port 81, GET /: \d connrefused\)"),
        (
            "command=('python3', '-m', 'http.server', '80', '--directory', '/srv'), ready_path='/nowhere'",
            r"\(port 80, GET /nowhere: it answers, but with a status that is not 2xx\)",
        ),
        ("command=('no-such-program',)", "no-such-program"),
    ],
)
def test_a_server_that_does_not_serve_is_one_line(
    lab: str, image: str, tmp_path: Path, settings: str, message: str
) -> None:
    scenario = own(tmp_path, f"image={image!r}, {settings}")
    done = run(scenario, lab, tmp_path, "--runtime", "docker")
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_that_is_not_there_is_named(lab: str, tmp_path: Path) -> None:
    scenario = own(tmp_path, "image='testbed/nowhere:1', command=('true',)")
    done = run(scenario, lab, tmp_path, "--runtime", "docker")
    assert done.returncode == 3
    assert "docker pull testbed/nowhere:1" in done.stderr.splitlines()[-1]


def test_without_an_engine_images_are_skipped_and_the_rest_is_measured(tmp_path: Path) -> None:
    available("netns")
    name = f"t-own-{uuid.uuid4().hex[:6]}"
    done = run(EXAMPLE / "scenario.py", name, tmp_path, "--runtime", "netns")
    assert done.returncode == 0, done.stderr
    assert "skipped python: a server from an image needs a runtime with images (docker): netns has none" in done.stderr
    assert set(records(tmp_path, "python_server")) == {"epoll-lt"}
