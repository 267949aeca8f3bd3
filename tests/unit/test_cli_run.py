"""``testbed run`` in a scripted world: what is refused before a lab comes up, what one failing scenario does to the
others, and what is said of the lab."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli import main
from testbed.engine.program_names import ARRIVALS, MECHANISMS, names_in
from testbed.runtime import docker_images
from testbed.runtime.base import RUNTIMES
from testbed.runtime.fake import FakeRuntime
from testbed.store.reading import find_runs
from tests.unit.scripted_world import World, measuring
from tests.unit.test_cli import Gone, only

SCENARIO = """
from testbed import OneByte, Profile, Scenario, ServerImage, mechanisms
SCENARIO = Scenario(
    name={name!r}, title="A title", sentence="It is one.", servers={servers}, workload=OneByte(),
    profiles={{"quick": Profile(rates_per_s=(1000,), warm_up_s=0, window_s=0.01, client_timeout_s=0.1)}},
)
"""


@pytest.fixture(autouse=True)
def _own_process_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return measuring(monkeypatch)


@pytest.fixture
def runtime(world: World, monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """The one world in memory that ``--runtime fake`` means in a test."""
    made = world.lab().runtime
    assert isinstance(made, FakeRuntime)
    RUNTIMES.names()
    monkeypatch.setitem(RUNTIMES._entries, "fake", only(made))
    return made


def scenario(folder: Path, name: str, servers: str = "mechanisms('select')") -> str:
    """A scenario file of one point."""
    path = folder / f"{name}.py"
    path.write_text(SCENARIO.format(name=name, servers=servers))
    return str(path)


def run(tmp_path: Path, *words: str) -> int:
    return main(["run", *words, "--runtime", "fake", "--results", str(tmp_path / "results")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--set", "arrival=nonsense"],
            "unknown arrival process 'nonsense': one of deterministic, exponential, ",
        ),
        (["--set", "figures=[nonsense]"], "unknown kind of figure 'nonsense': one of accept_limit, "),
        (["--set", "mechanisms=[select, epol]"], "unknown mechanism 'epol': one of aio-poll, epoll-ctlv, "),
        (["--set", "mechanisms=epol", "--dry-run"], "unknown mechanism 'epol': one of aio-poll, epoll-ctlv, "),
        (["--set", "accept_limit=many"], "accept_limit: a whole number from 1, or inf, not 'many'"),
        (["nowhere.py"], "nowhere.py: no such scenario file: `testbed scenarios` lists"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, runtime: FakeRuntime, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, scenario(tmp_path, "one"), *words) == 2
    assert said in capsys.readouterr().err
    assert runtime.calls == []
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("runtime")
def test_one_failing_scenario_does_not_stop_the_others(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.mechanisms["poll"] = "unavailable: Operation not permitted"
    del world.mechanisms["epoll-lt"]
    files = [
        scenario(tmp_path, name, f"mechanisms({mechanism!r})")
        for name, mechanism in (("unable", "poll"), ("unknown", "epoll-lt"), ("good", "select"))
    ]
    assert run(tmp_path, *files) == 2
    error = capsys.readouterr().err
    assert "unable: FAILED: none of the scenario's servers can run here: poll: Operation not permitted\n" in error
    assert error.splitlines()[-1].startswith("testbed: 2 of 3 scenarios failed: unable: none of ")
    assert len(find_runs(tmp_path / "results", "good")) == 1
    assert run(tmp_path, files[0], files[2]) == 1


def test_an_interrupt_ends_all(tmp_path: Path, runtime: FakeRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.failures["run", "server"] = KeyboardInterrupt()
    assert run(tmp_path, scenario(tmp_path, "one"), scenario(tmp_path, "two")) == 130
    assert "FAILED" not in capsys.readouterr().err
    assert runtime.made() == []


@pytest.mark.usefixtures("runtime")
def test_json_is_one_line_for_each_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, scenario(tmp_path, "one"), scenario(tmp_path, "two"), "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["folder"]).parent.name for line in lines] == ["one", "two"]


@pytest.mark.usefixtures("runtime")
def test_a_dry_run_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = scenario(tmp_path, "one"), scenario(tmp_path, "two", "mechanisms('select', 'poll')")
    assert run(tmp_path, *files, "--dry-run", "--set", "window_s=7.4") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all: 3 points, about ")
    assert run(tmp_path, files[0], "--dry-run") == 0
    assert "all:" not in capsys.readouterr().out


def test_what_the_lab_is_made_with_is_said_before_the_first_point(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Better(Gone):
        preference = 0

    monkeypatch.setitem(RUNTIMES._entries, "docker", Better)
    monkeypatch.delitem(RUNTIMES._entries, "netns", raising=False)
    file = scenario(tmp_path, "one")
    assert main(["run", file, "--results", str(tmp_path / "results")]) == 0
    lines = capsys.readouterr().err.splitlines()
    said = "runtime: fake (docker: no engine answers); fast path: off: the fake runtime has no frames; --link auto"
    assert said in lines
    assert lines.index(said) < next(index for index, line in enumerate(lines) if "replies/s" in line)


@pytest.mark.parametrize("option", ["--file", "--no-fast-path"])
def test_a_standing_lab_is_not_made_otherwise(
    tmp_path: Path, runtime: FakeRuntime, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--runtime", "fake"]) == 0
    words = [option, "compose.yaml"] if option == "--file" else [option]
    assert run(tmp_path, scenario(tmp_path, "one"), *words) == 2
    assert f"lab 'testbed' stands already, as it was brought up: {option} is for a new one" in capsys.readouterr().err


def test_a_lab_of_older_programs_than_the_sources_is_refused(
    tmp_path: Path, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = scenario(tmp_path, "one")
    assert main(["up", "--runtime", "fake"]) == 0
    runtime.images["server"] = (docker_images.image_tag("server"), "sha256:1")
    assert run(tmp_path, file) == 0
    monkeypatch.setattr(docker_images, "image_tag", lambda name: f"testbed/{name}:new")
    assert run(tmp_path, file) == 2
    error = capsys.readouterr().err
    assert "server of lab 'testbed' runs testbed/server:" in error
    assert "sources have changed since (now testbed/server:new)" in error
    assert len(find_runs(tmp_path / "results", "one")) == 1


def test_names_are_those_of_the_source_files() -> None:
    assert names_in(ARRIVALS) == ["deterministic", "exponential", "uniform"]
    assert {"select", "poll", "epoll-lt"} <= set(names_in(MECHANISMS))


@pytest.mark.usefixtures("runtime")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, scenario(tmp_path, "one")) == 0
    (folder,) = find_runs(tmp_path / "results", "one")
    blocked = tmp_path / "file"
    blocked.write_text("")
    capsys.readouterr()
    assert main(["figures", str(folder), "--into", str(blocked / "figures")]) == 1
    assert capsys.readouterr().err == f"testbed: {blocked / 'figures'}: Not a directory\n"


@pytest.mark.parametrize("seconds", ["0", "-1"])
@pytest.mark.usefixtures("runtime")
def test_a_time_out_that_cannot_be_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "--timeout", seconds, "server", "true"]) == 2
    assert "is not in the range x>0" in capsys.readouterr().err
