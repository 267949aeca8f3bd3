"""Whole runs on real containers, through the command line: results, interruption, kill -9, and bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.model.record import Verdict
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
    assert "figure:" in done.stdout
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


@pytest.mark.parametrize("phase", ["coming up", "first point", "later point"])
def test_kill_9_leaves_finished_points_readable_and_down_removes_the_rest(lab: str, tmp_path: Path, phase: str) -> None:
    sign, at_least = {"coming up": (b"up: node", 0), "first point": (b"points, about", 0), "later point": (b"  2/", 2)}[
        phase
    ]
    words = command("run", FIGURE_1, *SHORT, "--set", "rates_per_s=[500, 1000]", "--lab", lab, "--results", tmp_path)
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        wait_for_line(running, sign)
        time.sleep(0.3)
        running.kill()
        running.wait(10)
    assert labelled(lab) != []
    assert cli("down", "--lab", lab).returncode == 0
    assert labelled(lab) == []
    if at_least:
        run = only_run(tmp_path, "figure_1")
        assert len(run.records) >= at_least
        resumed = cli("run", FIGURE_1, *SHORT, "--set", "rates_per_s=[500, 1000]", "--lab", lab, "--resume", run.folder)
        assert resumed.returncode == 0, resumed.stderr
        assert len(read_run(run.folder).latest()) == 6


def test_down_all_finds_what_a_killed_run_left(lab: str, tmp_path: Path) -> None:
    others = subprocess.run(
        ["docker", "ps", "-aq", "--filter", "label=testbed.lab"], capture_output=True, text=True
    ).stdout
    if others.split():
        pytest.skip("another lab stands on this machine, and `down --all` would remove it")
    words = command("run", FIGURE_1, *SHORT, "--lab", lab, "--results", tmp_path)
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        wait_for_line(running, b"up: node")
        running.kill()
        running.wait(10)
    done = cli("down", "--all")
    assert done.returncode == 0, done.stderr
    assert labelled(lab) == []


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
