"""The runtime in memory refuses what a real one refuses, and its programs behave like programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.errors import ProgramError, RuntimeFault, UsageError
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import RUNTIMES
from testbed.runtime.fake import Call, FakeRuntime
from testbed.runtime.node_files import put_files
from testbed.topology.plan import place

TOPOLOGY = Topology(
    networks=(Network(name="lan"),), nodes=(Node(name="server", role="server", image="i", networks=("lan",)),)
)


def until_term(call: Call) -> Iterator[str]:
    yield "ready"
    while "TERM" not in call.signals:
        yield "tick"
    call.status = 3
    yield "summary"


def echo(call: Call) -> Iterator[str]:
    yield " ".join(call.command[1:])
    yield call.stdin.decode()


def endless(call: Call) -> Iterator[str]:
    while True:
        yield "tick"


@pytest.fixture
def runtime() -> FakeRuntime:
    runtime = FakeRuntime({"until-term": until_term, "echo": echo, "endless": endless})
    placed = place(TOPOLOGY, "lab", runtime.taken_subnets(), [0, 1])
    runtime.create_network("lab", placed.networks[0])
    runtime.create_node(placed, placed.nodes[0])
    return runtime


def test_it_is_known_by_name() -> None:
    assert RUNTIMES.get("fake") is FakeRuntime


def test_a_command_runs_to_its_end(runtime: FakeRuntime) -> None:
    done = runtime.run("lab", "server", ["echo", "a", "b"], stdin=b"in")
    assert (done.status, done.stdout) == (0, "a b\nin\n")
    assert runtime.run("lab", "server", ["nothing"]).status == 127


def test_a_command_that_does_not_end_is_a_fault(runtime: FakeRuntime) -> None:
    with pytest.raises(RuntimeFault, match="endless on server still runs"):
        runtime.run("lab", "server", ["endless"])


def test_a_program_hears_signals_and_keeps_its_lines(runtime: FakeRuntime) -> None:
    process = runtime.start("lab", "server", ["until-term"])
    assert process.lines(1) == ["ready"]
    assert process.lines(1) == ["tick"]
    with pytest.raises(ProgramError):
        process.wait(0)
    process.signal("TERM")
    assert process.wait(1) == 3
    assert process.lines(0)[-1] == "summary"
    process.signal("TERM")
    assert process.lines(0) == []


def test_kill_needs_no_cooperation(runtime: FakeRuntime) -> None:
    process = runtime.start("lab", "server", ["endless"])
    process.signal("KILL")
    assert process.wait(1) == 137


def test_files_are_kept(runtime: FakeRuntime) -> None:
    put_files(runtime, "lab", "server", "/srv/", {"a/b": b"1"})
    assert runtime.files("lab", "server") == {"/srv/a/b": b"1"}


def test_names_and_subnets_in_use_are_refused(runtime: FakeRuntime) -> None:
    placed = place(TOPOLOGY, "lab", {}, [0, 1])
    with pytest.raises(UsageError, match="is there already"):
        runtime.create_network("lab", placed.networks[0])
    with pytest.raises(UsageError, match="is there already"):
        runtime.create_node(placed, placed.nodes[0])
    with pytest.raises(UsageError, match=r"in use: 10\.64\.0\.0/24 \(network lan of lab lab\)"):
        runtime.create_network("other", placed.networks[0])


def test_a_lab_is_removed_whole_and_alone(runtime: FakeRuntime) -> None:
    other = place(TOPOLOGY, "other", runtime.taken_subnets(), [0, 1])
    runtime.create_network("other", other.networks[0])
    assert [(made.kind, made.name) for made in runtime.made("lab")] == [("network", "lan"), ("node", "server")]
    runtime.remove("lab")
    runtime.remove("lab")
    assert runtime.made("lab") == []
    assert [made.lab for made in runtime.made()] == ["other"]
    with pytest.raises(RuntimeFault, match="lab 'lab' has no node 'server'"):
        runtime.run("lab", "server", ["echo"])
