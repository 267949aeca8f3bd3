"""The command line: verbs found by their files, one clear line and the right exit code for each error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from testbed.cli import Verbs, group, main
from testbed.errors import EnvironmentLack, RunError, RuntimeFault, TestbedError, UsageError
from testbed.runtime.base import RUNTIMES
from testbed.runtime.fake import Call, FakeRuntime

VERBS = {"build", "doctor", "down", "exec", "logs", "run", "scenarios", "status", "up"}


def speak(call: Call) -> Iterator[str]:
    yield " ".join(call.command)
    call.status, call.stderr = 7, "not well\n"


@pytest.fixture(autouse=True)
def _own_process_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """The one world in memory that ``--runtime fake`` means in a test."""
    runtime = FakeRuntime({"speak": speak})
    RUNTIMES.names()
    monkeypatch.setitem(RUNTIMES._entries, "fake", only(runtime))
    return runtime


def only(runtime: FakeRuntime) -> type[FakeRuntime]:
    """A class whose every instance is that one."""

    class Only(FakeRuntime):
        preference = 1

        def __new__(cls) -> FakeRuntime:  # type: ignore[misc]
            return runtime

    return Only


class Gone(FakeRuntime):
    """A runtime that worked yesterday."""

    preference = 2

    def __init__(self) -> None:
        raise EnvironmentLack("no engine answers", "start it")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr, which must be one line."""
    text = capsys.readouterr().err
    text = text.lstrip("\n")  # click ends the line in which a terminal shows ^C
    assert text.startswith("testbed: ")
    assert text.count("\n") == 1
    return text


def test_verbs_are_found_by_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    listed = {
        line.split()[0] for line in text.partition("Verbs:")[2].splitlines() if line.startswith("  ") and line[2] != " "
    }
    assert listed >= VERBS


def test_the_help_texts_of_all_verbs_can_be_read() -> None:
    context = click.Context(group)
    assert isinstance(group, Verbs)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        assert command is not None
        assert command.name == verb
        assert command.get_short_help_str(), f"{verb} does not say what it does"


def test_starting_loads_no_more_than_the_verb_needs() -> None:
    heavy = {"docker", "matplotlib", "numpy", "scapy", "pyroute2"}
    program = f"import sys; from testbed.cli import main; main(['--help']); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["up", "--frob"], "No such option"),
        (["logs"], "Missing argument 'NODE'"),
        (["up", "--runtime", "podman"], "unknown runtime 'podman': one of "),
        (["up", "--runtime", "fake", "--lab", "My Lab"], "lab name 'My Lab'"),
        (["up", "--runtime", "fake", "--link", "magic"], "unknown link backend 'magic': one of netem, tbf, userspace"),
        (["up", "--runtime", "fake", "--file", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["status", "--runtime", "fake"], "no lab 'testbed' stands"),
        (["exec", "--runtime", "fake", "server", "true"], "no lab 'testbed' stands"),
        (["down", "--all", "--lab", "a"], "--all means every lab"),
    ],
)
@pytest.mark.usefixtures("world")
def test_bad_usage_is_one_line_and_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (EnvironmentLack("no engine", "start it"), 3),
        (RunError("x"), 1),
        (RuntimeFault("two\nlines"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, world: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    world.failures["create_node", "idle1"] = error
    assert main(["up", "--runtime", "fake", "--json"]) == code
    one_line(capsys)
    assert world.made() == []


def test_an_unknown_key_is_told_with_file_and_path(
    tmp_path: Path, world: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(Path("compose.yaml").read_text().replace("role: server", "role: server, colour: red"))
    assert main(["up", "--runtime", "fake", "-f", str(path)]) == 2
    assert "compose.yaml: services.server.x-testbed.colour: unknown or unsupported key" in one_line(capsys)
    assert world.made() == []


def test_a_colliding_subnet_is_told_with_what_has_it(
    tmp_path: Path, world: FakeRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "compose.yaml"
    fixed = "net0: {ipam: {config: [{subnet: 192.0.2.128/25}]}}"
    path.write_text(Path("compose.yaml").read_text().replace("net0: {}", fixed))
    assert main(["up", "--runtime", "fake", "-f", str(path)]) == 2
    assert "network 'net0': subnet 192.0.2.128/25 collides with 192.0.2.0/24 (route via eth0)" in one_line(capsys)
    assert world.made() == []


def test_a_lab_by_hand(world: FakeRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--runtime", "fake", "--lab", "a"]) == 0
    shown = capsys.readouterr()
    assert "client8" in shown.out
    assert "fast path: off: the fake runtime has no frames" in shown.out
    assert "(12/12)" in shown.err
    assert main(["up", "--runtime", "fake", "--lab", "a"]) == 2
    assert "stands already" in one_line(capsys)
    assert main(["status", "--lab", "a"]) == 0
    assert "server" in capsys.readouterr().out
    assert main(["logs", "--lab", "a", "client1"]) == 0
    assert capsys.readouterr().out == ""
    assert world.start("a", "client1", ["speak"]).wait(1.0) == 7
    assert main(["logs", "--lab", "a", "client1"]) == 0
    assert capsys.readouterr().out == "speak on client1: not well\n"
    assert main(["down", "--runtime", "fake", "--lab", "a"]) == 0
    assert capsys.readouterr().out == "lab a is down\n"
    assert main(["down", "--runtime", "fake", "--lab", "a"]) == 0
    assert capsys.readouterr().out == "no lab a stands\n"


@pytest.mark.usefixtures("world")
def test_exec_hands_on_words_output_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    main(["up", "--runtime", "fake", "--json"])
    capsys.readouterr()
    assert main(["exec", "server", "speak", "--help", "-x", "--lab", "b"]) == 7
    shown = capsys.readouterr()
    assert shown.out == "speak --help -x --lab b\n"
    assert shown.err == "not well\n"
    assert main(["exec", "nobody", "speak"]) == 2
    assert "no node 'nobody': one of server, client1" in one_line(capsys)


@pytest.mark.usefixtures("world")
def test_json_holds_what_the_table_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--runtime", "fake", "--json", "--no-fast-path"]) == 0
    up = capsys.readouterr()
    assert up.err == ""
    assert main(["status", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data == json.loads(up.out)
    server, client = data["nodes"][0], data["nodes"][1]
    assert set(server["addresses"]) == {"net0", "net1"}
    assert (server["cpus"], client["cpus"]) == ("1", "0")
    assert (server["state"], client["emulated_hosts"]) == ("running", "10.128.0.0/16")
    assert data["paths"]["text"] == "off: switched off"


def test_one_cpu_is_said_in_the_status(world: FakeRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    world.cpus = 1
    assert main(["up", "--runtime", "fake"]) == 0
    assert "note: server and clients share CPUs" in capsys.readouterr().out


@pytest.mark.parametrize(("cpuset", "shared"), [("0-1", True), ("0", True), ("1", False)])
def test_shared_cpus_are_found_however_they_are_written(
    tmp_path: Path, world: FakeRuntime, capsys: pytest.CaptureFixture[str], cpuset: str, shared: bool
) -> None:
    """The clients are on CPU 0."""
    path = tmp_path / "compose.yaml"
    server = f"  server:\n    cpuset: {cpuset}\n"
    path.write_text(Path("compose.yaml").read_text().replace("  server:\n", server))
    assert main(["up", "--runtime", "fake", "-f", str(path)]) == 0
    assert ("note: server and clients share CPUs" in capsys.readouterr().out) is shared


@pytest.mark.usefixtures("world")
def test_all_labs_are_listed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        main(["up", "--runtime", "fake", "--lab", name, "--json"])
    capsys.readouterr()
    assert main(["status", "--all", "--runtime", "fake"]) == 0
    assert capsys.readouterr().out == "a: 11 nodes, 2 networks\nb: 11 nodes, 2 networks\n"
    assert main(["down", "--all", "--runtime", "fake"]) == 0
    assert capsys.readouterr().out == "removed: a, b\n"
    assert main(["down", "--all", "--runtime", "fake"]) == 0
    assert capsys.readouterr().out == "nothing was left\n"


@pytest.fixture
def half(world: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """A machine on which one runtime answers, and docker does not; netns is not installed."""
    monkeypatch.setitem(RUNTIMES._entries, "docker", Gone)
    monkeypatch.delitem(RUNTIMES._entries, "netns")
    return world


@pytest.mark.usefixtures("half")
def test_what_cannot_be_asked_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    main(["up", "--runtime", "fake", "--lab", "a", "--json"])
    capsys.readouterr()
    for arguments, printed in (
        (["status", "--all"], "a: 11 nodes, 2 networks\n"),
        (["down", "--all"], "removed: a\n"),
        (["down", "--all"], "nothing was left in fake\n"),
        (["status", "--all"], "no lab stands in fake\n"),
        (["down", "--lab", "a"], "no lab a stands in fake\n"),
    ):
        assert main(arguments) == 0
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == (printed, "not asked: docker (no engine answers)\n")


def test_a_lab_that_may_stand_where_nobody_can_ask_is_no_success(
    half: FakeRuntime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its engine was stopped: the lab stands again when the engine does."""
    main(["up", "--runtime", "fake", "--lab", "a", "--json"])
    state = tmp_path / "testbed" / "a.json"
    state.write_text(state.read_text().replace('"runtime":"fake"', '"runtime":"docker"'))
    half.remove("a")
    for arguments in (["down", "--all"], ["down", "--lab", "a"], ["status", "--all"]):
        capsys.readouterr()
        assert main(arguments) == 3
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == "testbed: lab 'a' was brought up with docker: no engine answers; to fix it: start it"
    assert main(["down", "--lab", "b"]) == 0
    capsys.readouterr()
    assert main(["up", "--runtime", "fake", "--lab", "a"]) == 2
    assert "lab 'a' was brought up with docker, which cannot be asked" in one_line(capsys)


def test_a_lab_of_that_name_in_another_runtime_is_left_alone(
    world: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = FakeRuntime()
    other.name = "docker"
    monkeypatch.setitem(RUNTIMES._entries, "docker", only(other))
    assert main(["up", "--runtime", "docker", "--lab", "a", "--json"]) == 0
    capsys.readouterr()
    assert main(["up", "--runtime", "fake", "--lab", "a"]) == 2
    assert "lab 'a' stands already, made with docker: `testbed down --lab a` removes it" in one_line(capsys)
    assert world.made() == []
    assert main(["down", "--lab", "a", "--runtime", "docker"]) == 0
    assert main(["up", "--runtime", "fake", "--lab", "a"]) == 0


def test_build_prepares_the_runtime_that_was_asked_for(world: FakeRuntime, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--runtime", "fake"]) == 0
    assert capsys.readouterr() == ("all is built (fake)\n", "nothing to build\n")
    assert world.calls == [("prepare_programs", "")]


def test_the_exit_codes_of_errors_are_those_of_the_manual() -> None:
    codes = {kind.__name__: kind.exit_code for kind in (TestbedError, UsageError, EnvironmentLack, RunError)}
    assert codes == {"TestbedError": 1, "UsageError": 2, "EnvironmentLack": 3, "RunError": 1}
