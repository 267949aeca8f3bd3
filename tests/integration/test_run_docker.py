"""Whole runs on real containers, through the command line: results, interruption, kill -9, and bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from testbed.engine.lab import remove_all
from testbed.engine.under_test.base import PORT
from testbed.model.record import Verdict
from testbed.runtime.base import Made
from testbed.runtime.docker import DockerRuntime
from testbed.runtime.docker_images import image_tag
from testbed.store.reading import Run, find_runs, read_run

ROOT = Path(__file__).parents[2]
FIGURE_1 = ROOT / "scenarios" / "figure_1.py"
FIGURE_5 = ROOT / "scenarios" / "figure_5.py"
SHORT = ("--set", "warm_up_s=0.1", "--set", "window_s=0.5")


@pytest.fixture
def lab(docker_engine: object) -> Iterator[str]:
    """A name for a lab, and no such lab afterwards."""
    name = f"t-run-{uuid.uuid4().hex[:8]}"
    yield name
    assert cli("down", "--lab", name).returncode == 0


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "testbed.cli", *map(str, words)]


def cli(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=110, check=False)


def labelled(name: str) -> list[str]:
    """Everything on the machine that carries the lab's label, or its namespaces."""
    found = []
    for kind in ("container", "network"):
        ask = ["docker", kind, "ls", "-q", "--filter", f"label=testbed.lab={name}"]
        found += subprocess.run(
            [*ask, "-a"] if kind == "container" else ask, capture_output=True, text=True
        ).stdout.split()
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines()
    return [*found, *(line for line in spaces if line.startswith((f"tb-{name}.", f"tb-{name}:")))]


def only_run(results: Path, scenario: str) -> Run:
    (folder,) = find_runs(results, scenario)
    return read_run(folder)


@pytest.mark.alone
def test_a_run_measures_draws_and_leaves_nothing(lab: str, tmp_path: Path) -> None:
    rates = ("--set", "rates_per_s=[500, 1000]", "--set", "mechanisms=[select, epoll-lt]")
    done = cli("run", FIGURE_1, *SHORT, *rates, "--lab", lab, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path, "figure_1")
    assert len(run.records) == 4
    for record in run.records:
        # Far below any limit: nearly all must come back, whatever else the machine is doing.
        assert record.replies_per_s == pytest.approx(record.offered_per_s, rel=0.25)
        attempted = sum(c["attempted"] for c in record.raw["clients"])
        errors = sum(sum(c["errors"].values()) for c in record.raw["clients"])
        assert attempted == sum(c["completed"] for c in record.raw["clients"]) + errors
        assert record.server_cpu_us_per_reply is not None
        assert record.server_cpu_us_per_reply > 0
    assert {path.name for path in (run.folder / "figures").iterdir()} >= {
        "figure_1_reply_rate.png",
        "figure_1_reply_rate.svg",
    }
    assert run.manifest.host["kernel"] == os.uname().release
    programs = run.manifest.programs
    assert {programs["server"].tag, programs["client1"].tag} == {image_tag("server"), image_tag("client")}
    assert all(program.id.startswith("sha256:") for program in programs.values())
    assert "figure:" in done.stdout
    assert labelled(lab) == []


def test_the_documented_program_runs(lab: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    named = program.replace('name="api"', f'name="{lab}", runtime="docker"')
    assert named != program
    done = subprocess.run([sys.executable, "-c", named], capture_output=True, text=True, timeout=110, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = only_run(tmp_path / "results", "two_clients").records
    assert [record.replies_per_s for record in records] == pytest.approx([r.offered_per_s for r in records], rel=0.25)
    assert labelled(lab) == []


def test_idle_connections_stand_through_the_window(lab: str, tmp_path: Path) -> None:
    one = ("--set", "rates_per_s=500", "--set", "mechanisms=epoll-lt", "--set", "idle_connections=2000")
    done = cli("run", FIGURE_5, *SHORT, *one, "--lab", lab, "--results", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    (point,) = json.loads(done.stdout)["points"]
    assert point["idle_connections_minimum"] == 2000
    run = only_run(tmp_path, "figure_5")
    assert run.records[0].raw["server_after"]["open_connections"] >= 2000


def test_a_lab_that_is_up_is_used_and_left_standing(lab: str, tmp_path: Path) -> None:
    assert cli("up", "--lab", lab).returncode == 0
    before = labelled(lab)
    one = ("--set", "rates_per_s=500", "--set", "mechanisms=poll")
    done = cli("run", FIGURE_1, *SHORT, *one, "--lab", lab, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(labelled(lab)) == sorted(before)


def test_ctrl_c_ends_with_130_and_leaves_nothing(lab: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        command("run", FIGURE_1, "--lab", lab, "--results", tmp_path), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as running:
        wait_for_line(running, b"replies/s")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    assert labelled(lab) == []
    assert len(only_run(tmp_path, "figure_1").records) >= 1


class OneLab(DockerRuntime):
    """Sees a single lab: what `down --all` does with every lab is done here without harming the labs of others."""

    def __init__(self, lab: str) -> None:
        super().__init__()
        self._only = lab

    def made(self, lab: str | None = None) -> Sequence[Made]:
        return [made for made in super().made(lab) if made.lab == self._only]


@pytest.mark.parametrize(
    ("sign", "node", "program", "finished"),
    [(b"up: node", "", "", 0), (b"points, about", "idle0", "idleconn", 0), (b"  1/", "client1", "loadgen", 1)],
    ids=["coming up", "idle population", "window"],
)
def test_kill_9_leaves_finished_points_readable_and_all_of_the_rest_is_found(
    lab: str, tmp_path: Path, sign: bytes, node: str, program: str, finished: int
) -> None:
    points = ("--set", "mechanisms=[select, epoll-lt]", "--set", "rates_per_s=500", "--set", "window_s=2")
    words = ["run", FIGURE_5, *points, "--lab", lab]
    with subprocess.Popen(
        command(*words, "--results", tmp_path), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as running:
        wait_for_line(running, sign)
        if program:
            wait_for_program(lab, node, program)
        running.kill()
        running.wait(10)
    assert labelled(lab) != []
    assert remove_all([OneLab(lab)]) == [lab]
    assert labelled(lab) == []
    if finished:
        run = only_run(tmp_path, "figure_5")
        assert len(run.records) == finished
        resumed = cli(*words, "--resume", run.folder)
        assert resumed.returncode == 0, resumed.stderr
        assert len(read_run(run.folder).latest()) == 2


def wait_for_program(lab: str, node: str, program: str) -> None:
    """Until the program runs in the node."""
    script = f"grep -lx {program} /proc/[0-9]*/comm"
    deadline = time.monotonic() + 60
    while subprocess.run(["docker", "exec", f"tb-{lab}.{node}", "sh", "-c", script], capture_output=True).returncode:
        assert time.monotonic() < deadline, f"{program} did not start on {node}"


def wait_for_line(running: subprocess.Popen[bytes], sign: bytes) -> None:
    """Read its stderr until a line has the sign."""
    assert running.stderr is not None
    seen = []
    for line in running.stderr:
        seen.append(line)
        if sign in line:
            return
    raise AssertionError(f"it ended without {sign!r}: {b''.join(seen)[-2000:]!r}")


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (["--set", "mechanisms=nonsense"], "unknown mechanism 'nonsense': one of", 2),
        (["--set", "rates_per_s=0"], "rates_per_s.0: Input should be greater than 0", 2),
        (["--set", "rates_per_s=-5"], "rates_per_s.0: Input should be greater than 0", 2),
        (["--profile", "huge"], "has no profile 'huge': one of quick, laptop, paper", 2),
        (["--retry-invalid"], "--retry-invalid needs --resume", 2),
        (["--resume", "/nonexistent"], "/nonexistent/manifest.json: no such file", 2),
        (["--file", "/nonexistent.yaml"], "/nonexistent.yaml", 2),
        (["--runtime", "nonsense"], "unknown runtime 'nonsense'", 2),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    lab: str, tmp_path: Path, words: list[str], message: str, status: int
) -> None:
    done = cli("run", FIGURE_1, "--lab", lab, "--results", tmp_path, *words)
    assert done.returncode == status
    last = done.stderr.splitlines()[-1]
    assert last.startswith("testbed: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert labelled(lab) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_set_larger_than_the_memory_given_is_one_line(lab: str, tmp_path: Path) -> None:
    world = tmp_path / "compose.yaml"
    world.write_text((ROOT / "compose.yaml").read_text().replace("[/tmp, /srv]", "[/tmp, '/srv:size=4m']"))
    one = ("--set", "workload.directories=1", "--file", world, "--lab", lab, "--results", tmp_path)
    done = cli("run", ROOT / "scenarios" / "figure_2.py", *one)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "testbed: the workload's files need 5 MB, and /srv of server holds 4 MB: "
        "take a smaller set, or give its tmpfs more (size= in compose.yaml)"
    )
    assert labelled(lab) == []


def test_the_files_are_made_once_per_lab(lab: str, tmp_path: Path) -> None:
    """A second run finds them; another workload's set replaces them and leaves nothing of them."""
    assert cli("up", "--lab", lab).returncode == 0
    load = ("--set", "mechanisms=epoll-lt", "--set", "rates_per_s=300", *SHORT, "--lab", lab, "--results", tmp_path)

    def made() -> str:
        listing = "find /srv -type f -printf '%P %C@ %s\\n' | sort | sha256sum; find /srv -type f | wc -l"
        return cli("exec", "--lab", lab, "server", "sh", "-c", listing).stdout

    seen = []
    for scenario in ("figure_2", "figure_4", "figure_1"):
        done = cli("run", ROOT / "scenarios" / f"{scenario}.py", *load)
        assert done.returncode == 0, done.stderr
        seen.append(made())
    assert seen[0] == seen[1]
    assert seen[0].split()[-1] == "288"
    assert seen[2].split()[-1] == "1"


def test_a_port_in_use_is_one_line_and_the_lab_stays_as_it_was(lab: str, tmp_path: Path) -> None:
    assert cli("up", "--lab", lab).returncode == 0
    before = sorted(labelled(lab))
    listen = ["userver", "--mech", "poll", "--bind", "0.0.0.0", "--port", str(PORT), "--docroot", "/srv"]
    process = DockerRuntime().start(lab, "server", [*listen, "--accept-limit", "1"])
    try:
        assert process.lines(20)
        done = cli("run", FIGURE_1, *SHORT, "--set", "rates_per_s=500", "--lab", lab, "--results", tmp_path)
    finally:
        process.signal("KILL")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("testbed: ")
    assert "Address already in use" in last
    assert "Traceback" not in done.stderr
    assert sorted(labelled(lab)) == before


@pytest.mark.parametrize("text", ["", "SCENARIO = 1"])
def test_a_file_without_a_scenario_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    done = cli("run", file)
    assert done.returncode == 2
    assert done.stderr == f"testbed: {file}: exports no SCENARIO (a testbed.Scenario)\n"


def test_require_valid_fails_a_run_that_cannot_be_believed(lab: str, tmp_path: Path) -> None:
    # Four hundred thousand connections a second from eight clients on one shared core: more than it can send in time.
    flood = ("--set", "rates_per_s=400000", "--set", "mechanisms=epoll-lt", "--set", "window_s=0.3")
    done = cli("run", FIGURE_1, *flood, "--lab", lab, "--results", tmp_path, "--require-valid")
    assert done.returncode == 1
    (record,) = only_run(tmp_path, "figure_1").records
    assert record.verdict in (Verdict.CLIENT_LIMITED, Verdict.INVALID)
    assert "not valid, and --require-valid was given" in done.stderr
