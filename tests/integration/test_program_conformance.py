"""What the contract of a runtime promises of programs, files and CPU time, asked of every runtime that is here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from testbed.errors import ProgramError, RuntimeFault
from testbed.model.placed import PlacedTopology
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Process, Runtime
from testbed.runtime.docker_images import BASE_IMAGE
from testbed.runtime.node_files import put_files
from tests.integration.conformance_world import (
    LAB,
    REAL,
    conforming,
    next_lines,
    said,
    standing,
    world,
)


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest) -> Runtime:
    return conforming(request.param)


@pytest.fixture(scope="module")
def lab(real: Runtime) -> Iterator[PlacedTopology]:
    """Stands for all tests that change nothing of it."""
    with standing(real, LAB, world()) as placed:
        yield placed


def test_run_gives_status_and_both_streams(real: Runtime, lab: PlacedTopology) -> None:
    done = real.run(LAB, "server", ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert real.run(LAB, "server", ["sh", "-c", "kill -9 $$"]).status == 137


def test_run_passes_stdin_whatever_its_size(real: Runtime, lab: PlacedTopology) -> None:
    data = b"0123456789abcdef" * 40_000
    assert real.run(LAB, "server", ["cat"], stdin=data).stdout == data.decode()
    assert real.run(LAB, "server", ["wc", "-c"], stdin=data).stdout.split() == [str(len(data))]
    assert real.run(LAB, "server", ["true"], stdin=data).status == 0
    assert real.run(LAB, "server", ["cat"]).stdout == ""


def test_run_that_does_not_end_is_killed_with_its_children(real: Runtime, lab: PlacedTopology) -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeFault, match="sh"):
        real.run(LAB, "client1", ["sh", "-c", "sleep 4321 & sleep 4321; true"], timeout_s=0.5)
    assert time.monotonic() - began < 8
    assert _absent(real, "client1", "4321")


def test_run_that_does_not_end_takes_nothing_else_with_it(real: Runtime, lab: PlacedTopology) -> None:
    """Neither a program that looks the same, nor what keeps the node there."""
    twin = real.start(LAB, "client1", ["sleep", "infinity"])
    with pytest.raises(RuntimeFault, match="sleep"):
        real.run(LAB, "client1", ["sleep", "infinity"], timeout_s=0.5)
    with pytest.raises(ProgramError):
        twin.wait(0.2)
    assert said(real, "client1", "hostname") == "client1"
    twin.signal("TERM")
    assert twin.wait(5) == 143


def _absent(runtime: Runtime, node: str, word: str) -> bool:
    """Whether within a moment no process has that word on its command line. Bracketed: not the one that looks."""
    script = f'grep -la "[{word[0]}]{word[1:]}" /proc/[0-9]*/cmdline 2>/dev/null; true'
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if not runtime.run(LAB, node, ["sh", "-c", script]).stdout:
            return True
        time.sleep(0.1)
    return False


def test_a_program_that_is_not_there_is_an_error_that_names_it(real: Runtime, lab: PlacedTopology) -> None:
    with pytest.raises(RuntimeFault, match="no-such-program"):
        real.start(LAB, "server", ["no-such-program"])
    with pytest.raises(RuntimeFault, match="no-such-program"):
        _run_or_refuse(real, ["no-such-program"])


def _run_or_refuse(runtime: Runtime, command: list[str]) -> None:
    """A runtime may also answer as a shell does."""
    done = runtime.run(LAB, "server", command)
    if done.status == 127:
        raise RuntimeFault(done.stderr)


def test_lines_come_as_they_are_printed(real: Runtime, lab: PlacedTopology) -> None:
    script = 'echo one; printf "half"; read go < /tmp/go; echo " line"; echo last; printf unfinished'
    said(real, "client0", "sh", "-c", "rm -f /tmp/go; mkfifo /tmp/go")
    process = real.start(LAB, "client0", ["sh", "-c", script])
    assert process.lines(10) == ["one"]
    assert process.lines(0.1) == []
    said(real, "client0", "sh", "-c", "echo go > /tmp/go")
    assert next_lines(process, 2) == ["half line", "last"]
    assert process.wait(10) == 0
    began = time.monotonic()
    assert process.lines(5) == []
    assert time.monotonic() - began < 1  # nothing can come any more: nothing is waited for


def test_lines_are_readable_after_the_end_and_none_is_lost(real: Runtime, lab: PlacedTopology) -> None:
    process = real.start(LAB, "server", ["sh", "-c", "seq 20000; echo off >&2; exit 3"])
    assert process.wait(20) == 3
    assert next_lines(process, 20_000) == [str(number) for number in range(1, 20_001)]
    assert process.stderr() == "off\n"


def test_of_stderr_the_end_is_kept(real: Runtime, lab: PlacedTopology) -> None:
    process = real.start(LAB, "server", ["sh", "-c", "seq 1000000 1030000 >&2"])
    assert process.wait(20) == 0
    text = process.stderr()
    assert text.endswith("1029999\n1030000\n")
    assert 60_000 < len(text) <= 65_536


def test_signals_reach_the_program_alone(real: Runtime, lab: PlacedTopology) -> None:
    child = '(trap "echo child" USR1; while :; do sleep 0.05; done) &'
    script = 'trap "echo usr1" USR1; trap "kill $!; echo term; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
    first, second = (real.start(LAB, "server", ["sh", "-c", child + script]) for _ in range(2))
    assert first.lines(10) == second.lines(10) == ["ready"]
    first.signal("USR1")
    assert next_lines(first, 2, 0.5) == ["usr1"]
    first.signal("TERM")
    assert first.wait(10) == 5
    assert first.lines(1) == ["term"]
    first.signal("TERM")  # has ended: no error
    with pytest.raises(ProgramError, match="still runs"):
        second.wait(0.2)
    assert second.lines(0.1) == []
    second.signal("KILL")
    assert second.wait(10) == 137


def test_a_program_is_told_lines_while_it_runs(real: Runtime, lab: PlacedTopology) -> None:
    process = real.start(LAB, "server", ["sh", "-c", "echo ready; while read -r line; do echo got $line; done"])
    assert process.lines(10) == ["ready"]
    process.tell("one")
    assert process.lines(10) == ["got one"]
    process.tell("2 3")
    assert process.lines(10) == ["got 2 3"]
    process.signal("KILL")
    assert process.wait(10) == 137
    process.tell("nobody")  # has ended: no error


def test_a_program_can_be_let_go_before_others(real: Runtime, lab: PlacedTopology) -> None:
    process = real.start(LAB, "server", ["sh", "-c", "read -r line; nice; exec sleep 100"])
    granted = process.prefer()
    process.tell("go on")
    assert process.lines(10) == ["-20" if granted else "0"]
    assert granted or os.geteuid() != 0
    process.signal("KILL")
    assert process.wait(10) == 137
    process.prefer()  # has ended: no error


def test_a_signal_right_after_the_start_is_not_lost(real: Runtime, lab: PlacedTopology) -> None:
    for _ in range(5):
        process = real.start(LAB, "server", ["sleep", "100"])
        process.signal("TERM")
        assert process.wait(10) == 143


def test_a_program_needs_no_place_to_write(real: Runtime) -> None:
    lab = f"{LAB}-bare"
    node = Node(name="bare", image=BASE_IMAGE, networks=("net0",))
    with standing(real, lab, Topology(networks=(Network(name="net0"),), nodes=(node,))):
        process = real.start(lab, "bare", ["sh", "-c", "echo on; exec sleep 100"])
        assert process.lines(10) == ["on"]
        process.signal("TERM")
        assert process.wait(10) == 143


# Files, CPU time, logs


@pytest.mark.parametrize("folder", ["/srv", "/srv/deeper/still", "/tmp"])
def test_files_land_on_a_tmpfs_below_a_read_only_root(real: Runtime, lab: PlacedTopology, folder: str) -> None:
    content = os.urandom(300_000)
    put_files(real, LAB, "server", folder, {"a.bin": content, "sub/b c.txt": b"b\n", "empty": b""})
    assert said(real, "server", "cat", f"{folder}/sub/b c.txt") == "b"
    hexadecimal = said(real, "server", "od", "-An", "-v", "-tx1", f"{folder}/a.bin")
    assert bytes.fromhex("".join(hexadecimal.split())) == content
    assert said(real, "server", "stat", "-c", "%s %U %a", f"{folder}/empty") == "0 root 644"
    put_files(real, LAB, "server", folder, {"sub/b c.txt": b"replaced"})
    assert said(real, "server", "cat", f"{folder}/sub/b c.txt") == "replaced"


def test_files_for_a_read_only_place_are_refused(real: Runtime, lab: PlacedTopology) -> None:
    with pytest.raises(RuntimeFault, match="/etc"):
        put_files(real, LAB, "server", "/etc", {"x": b"x"})


BURN = """
use POSIX (); $| = 1; my $next = 0;
while (1) {
    my ($now, $user, $system) = POSIX::times();
    if ($user + $system >= $next) { $next = $user + $system + 2; print $now, " ", $user + $system, "\\n"; }
}
"""
"""Computes without end; every two ticks of CPU time it prints the clock and its CPU time, user and system, in ticks."""


def test_cpu_time_grows_with_what_the_node_computes(real: Runtime, lab: PlacedTopology) -> None:
    """Read twice while a program computes, and compared with what the program says of itself around each reading.

    Nothing is started between the two readings: what starting costs is no part of it. Nor does it hang on how fast the
    machine is: what the node used is at least what the program used between the readings, at most what it used around
    them.
    """
    burner = Burner(real.start(LAB, "client1", ["perl", "-e", BURN]))
    try:
        other = real.cpu_time_ns(LAB, "server")
        early = burner.around(lambda: real.cpu_time_ns(LAB, "client1"))
        burner.wait_for(lambda clock, own: own > early.own_after + 50)
        late = burner.around(lambda: real.cpu_time_ns(LAB, "client1"))
        grown, grown_beside = late.value - early.value, real.cpu_time_ns(LAB, "server") - other
    finally:
        burner.process.signal("KILL")
    least, most = late.own_before - early.own_after, late.own_after - early.own_before
    assert least >= 40
    assert late.own_after - late.own_before <= 30, "the account is of now: it has not waited for anything"
    assert (least - 3) / TICKS_PER_S <= grown / 1e9 <= (most + 3) / TICKS_PER_S  # the account may be a tick old
    assert grown_beside < grown / 2


TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """A value, and the CPU time in ticks that a program had used before and after it was read."""

    own_before: int
    value: int
    own_after: int


class Burner:
    """Runs BURN and keeps what it says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._said: list[tuple[int, int]] = []

    def around(self, read: Callable[[], int]) -> Reading:
        self.wait_for(lambda clock, own: True)
        began = _clock_ticks()
        value = read()
        ended = _clock_ticks()
        after = self.wait_for(lambda clock, own: clock > ended)
        return Reading(max(own for clock, own in self._said if clock <= began), value, after)

    def wait_for(self, wanted: Callable[[int, int], bool]) -> int:
        """The CPU time of the first word that is wanted."""
        while not any(wanted(*word) for word in self._said):
            lines = self.process.lines(30)
            assert lines, self.process.stderr()
            self._said += [(int(clock), int(own)) for clock, own in map(str.split, lines)]
        return next(own for clock, own in self._said if wanted(clock, own))


def _clock_ticks() -> int:
    """The clock that BURN prints: of the kernel, so that of every node."""
    return round(os.times().elapsed * TICKS_PER_S)


def test_a_program_may_open_as_many_descriptors_as_the_engine_allows(real: Runtime, lab: PlacedTopology) -> None:
    """Not only those that raise their own limit: other people's servers do not."""
    soft, hard = said(real, "client0", "sh", "-c", "ulimit -Sn; ulimit -Hn").split()
    assert soft == hard
    assert int(hard) > 1024
    assert said(real, "server", "sh", "-c", "ulimit -Sn; ulimit -Hn").split() == ["1000", "1000"]


def test_what_programs_write_on_stderr_is_logged(real: Runtime, lab: PlacedTopology) -> None:
    """Of those that are started, and while they run. What a command says that is run to its end is the caller's."""
    process = real.start(LAB, "beside", ["sh", "-c", "echo printed; echo one >&2; printf two >&2; read line"])
    assert next_lines(process, 1) == ["printed"]
    deadline = time.monotonic() + 10
    while "one" not in real.logs(LAB, "beside") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert real.logs(LAB, "beside") == "sh on beside: one\n"
    process.tell("go on")
    assert process.wait(10) == 0
    real.run(LAB, "beside", ["sh", "-c", "echo three >&2"])
    while "two" not in real.logs(LAB, "beside") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert real.logs(LAB, "beside") == "sh on beside: one\nsh on beside: two\n"
    assert real.logs(LAB, "client0") == ""
