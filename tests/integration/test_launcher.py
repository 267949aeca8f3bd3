"""Programs launched in a node one after the other, on each real runtime: each ends as if it had been started alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from testbed.engine.lab import Lab
from testbed.errors import ProgramError
from testbed.model.topology import Topology
from testbed.runtime.base import Process
from testbed.topology.default import default_topology
from tests.integration.conftest import with_images

NAME = f"launch{os.getpid()}"


@pytest.fixture(scope="module", params=["docker", "netns"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    world = default_topology()
    nodes = (world.node("server"), world.node("client1"), world.node("client2"))
    topology = Topology(networks=world.networks, nodes=nodes)
    with Lab(topology, name=NAME, runtime=with_images(request.param)) as lab:
        yield lab


def said(process: Process) -> tuple[int, list[str]]:
    """Its exit status and all that it printed."""
    return process.wait(10), process.lines(0)


def runs(lab: Lab, *command: str) -> bool:
    listing = lab.run("client1", ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout
    return " ".join(command) in listing


def test_each_is_a_process_of_its_own_with_its_own_end(lab: Lab) -> None:
    assert said(lab.launch("client1", ["echo", "*", "$HOME"])) == (0, ["* $HOME"])
    assert said(lab.launch("client1", ["false"])) == (1, [])
    assert said(lab.launch("client1", ["printenv", "child"])) == (1, [])
    assert said(lab.launch("client1", ["seq", "3"])) == (0, ["1", "2", "3"])
    first, second = (lab.launch("client1", ["readlink", "/proc/self"]) for _ in range(2))
    assert said(first)[1] != said(second)[1]


def test_one_that_is_not_there_says_so_and_the_next_one_runs(lab: Lab) -> None:
    missing = lab.launch("client1", ["no-such-program"])
    assert said(missing) == (127, [])
    deadline = time.monotonic() + 5
    while "no-such-program" not in missing.stderr():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert said(lab.launch("client1", ["echo", "on"])) == (0, ["on"])


def test_lines_reach_the_one_that_runs(lab: Lab) -> None:
    for word in ("one", "two"):
        process = lab.launch("client1", ["head", "-n", "1"])
        process.tell(word)
        assert said(process) == (0, [word])


def test_what_was_left_unread_is_no_command(lab: Lab) -> None:
    process = lab.launch("client1", ["false"])
    process.tell("touch /tmp/never")
    process.wait(10)
    assert said(lab.launch("client1", ["ls", "-A", "/tmp"])) == (0, [])


def test_signals_reach_the_program_and_leave_the_shell(lab: Lab) -> None:
    process = lab.launch("client1", ["sleep", "87654"])
    with pytest.raises(ProgramError, match="still runs"):
        process.wait(0.3)
    process.signal("TERM")
    assert said(process) == (143, [])
    assert not runs(lab, "sleep", "87654")
    process.signal("TERM")  # has ended: no error
    assert said(lab.launch("client1", ["echo", "on"])) == (0, ["on"])


def test_a_killed_one_is_gone_and_the_next_one_runs(lab: Lab) -> None:
    process = lab.launch("client1", ["sleep", "87655"])
    process.signal("KILL")
    assert said(process) == (137, [])
    assert not runs(lab, "sleep", "87655")
    assert said(lab.launch("client1", ["echo", "on"])) == (0, ["on"])


def test_the_next_one_ends_one_that_still_runs(lab: Lab) -> None:
    before = lab.launch("client1", ["sleep", "87656"])
    assert said(lab.launch("client1", ["echo", "on"])) == (0, ["on"])
    assert before.wait(10) == 137
    assert not runs(lab, "sleep", "87656")


def test_who_goes_first_goes_first(lab: Lab) -> None:
    """As root; without, the priority stays."""
    wanted = "-20" if os.geteuid() == 0 else "0"
    for _ in range(2):
        assert said(lab.launch("client2", ["nice"], first=True)) == (0, [wanted])
    assert said(lab.launch("client1", ["nice"])) == (0, ["0"])


def test_under_nohup_as_well(lab: Lab) -> None:
    """Which ignores HUP for all that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        lab.launch("server", ["sleep", "87657"]).signal("KILL")
        running = lab.launch("server", ["sleep", "87658"])
        assert running.lines(0.3) == []
        running.signal("KILL")
        assert said(running) == (137, [])
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("words", [["echo", "a b"], ["echo", ""], ["echo", "a\nb"]])
def test_words_that_a_line_cannot_carry_are_refused(lab: Lab, words: list[str]) -> None:
    with pytest.raises(ValueError, match="without blanks"):
        lab.launch("client1", words)
