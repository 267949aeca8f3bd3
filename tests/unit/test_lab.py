"""The life of a lab: made whole or not at all, whatever fails or interrupts, and found again by later processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from testbed.engine import lab_state
from testbed.engine.lab import Lab, leftovers, remove_all
from testbed.engine.launcher import Launcher
from testbed.errors import EnvironmentLack, RunError, RuntimeFault, UsageError
from testbed.model.placed import PlacedNetwork
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.fake import FakeRuntime


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


def test_the_default_world_comes_up_and_goes(runtime: FakeRuntime) -> None:
    with Lab(runtime=runtime) as lab:
        assert lab.server.name == "server"
        assert [node.name for node in lab.clients] == [f"client{number}" for number in range(1, 9)]
        assert [node.name for node in lab.idles] == ["idle0", "idle1"]
        assert len(runtime.made("testbed")) == 13
        lab.put_files("server", "/srv", {"1.bin": b"x"})
        assert runtime.files("testbed", "server") == {"/srv/1.bin": b"x"}
    assert runtime.made() == []


def elsewhere(code: str) -> subprocess.CompletedProcess[str]:
    """What another process says to a lab in use here."""
    program = f"from testbed.engine import lab_state\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_lab_in_use_can_be_used_and_removed_by_its_user_alone(runtime: FakeRuntime) -> None:
    said = f"lab 'testbed' is in use by process {os.getpid()}"
    use, look = "with lab_state.in_use('testbed'): pass", "lab_state.check_unused('testbed')"
    with Lab(runtime=runtime) as lab:
        with lab_state.in_use(lab.name):
            with lab_state.in_use(lab.name):
                pass
            assert said in elsewhere(use).stderr
            assert said in elsewhere(look).stderr
            assert elsewhere("with lab_state.in_use('another'): pass").returncode == 0
            lab.down()
        assert [elsewhere(code).returncode for code in (use, look)] == [0, 0]


@pytest.mark.parametrize("everything", [False, True])
def test_nobody_takes_a_lab_down_under_a_run(runtime: FakeRuntime, everything: bool) -> None:
    lab = Lab(runtime=runtime)
    lab.up()
    hold = "with lab_state.in_use('testbed'): print('held', flush=True); time.sleep(60)"
    program = f"import time\nfrom testbed.engine import lab_state\n{hold}"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as user:
        try:
            assert user.stdout is not None
            assert user.stdout.readline() == b"held\n"
            with pytest.raises(UsageError, match=f"in use by process {user.pid}: end that first"):
                remove_all([runtime]) if everything else lab.down()
            assert runtime.made() != []
        finally:
            user.kill()
    remove_all([runtime]) if everything else lab.down()  # a killed process holds nothing
    assert runtime.made() == []


def test_networks_come_before_nodes_and_paths_last(runtime: FakeRuntime) -> None:
    Lab(runtime=runtime).up()
    order = [method for method, _ in runtime.calls if method in ("create_network", "create_node", "connect_paths")]
    assert order == ["create_network"] * 2 + ["create_node"] * 11 + ["connect_paths"]


def test_progress_counts_to_the_end(runtime: FakeRuntime) -> None:
    heard: list[tuple[int, int]] = []
    Lab(runtime=runtime, progress=lambda what, done, total: heard.append((done, total))).up()
    assert sorted(heard) == [(step, 12) for step in range(1, 13)]


def test_a_sidecar_comes_after_the_node_whose_network_it_shares(runtime: FakeRuntime) -> None:
    nodes = (
        Node(name="link", image="i", shares_network_of="server"),
        Node(name="server", role="server", image="i", networks=("lan",)),
    )
    Lab(Topology(networks=(Network(name="lan"),), nodes=nodes), runtime=runtime).up()
    assert [name for method, name in runtime.calls if method == "create_node"] == ["server", "link"]


@pytest.mark.parametrize(
    "failing", [("create_network", "net1"), ("create_node", "client5"), ("connect_paths", "testbed")]
)
@pytest.mark.parametrize("error", [RuntimeFault("the engine said no"), KeyboardInterrupt(), ZeroDivisionError()])
def test_whatever_fails_nothing_is_left(runtime: FakeRuntime, failing: tuple[str, str], error: BaseException) -> None:
    runtime.failures[failing] = error
    with pytest.raises(type(error)):
        Lab(runtime=runtime).up()
    assert runtime.made() == []
    assert lab_state.load("testbed") is None
    runtime.failures.clear()
    Lab(runtime=runtime).up()


def test_a_failed_clean_up_is_told_with_what_caused_it(runtime: FakeRuntime) -> None:
    runtime.failures = {("create_node", "server"): RuntimeFault("no space"), ("remove", "x"): RuntimeFault("gone away")}
    with pytest.raises(RunError, match=r"no space; and removing .* \(gone away\): try `testbed down --lab x`"):
        Lab(name="x", runtime=runtime).up()


def test_a_name_in_use_is_refused_and_left_alone(runtime: FakeRuntime) -> None:
    Lab(name="a", runtime=runtime).up()
    before = runtime.made("a")
    with pytest.raises(
        UsageError, match="lab 'a' stands already: `testbed down --lab a` removes it, or choose another"
    ):
        Lab(name="a", runtime=runtime).up()
    assert runtime.made("a") == before


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a/b", "x" * 32, "a\n"])
def test_a_name_that_cannot_be_one_is_refused(runtime: FakeRuntime, name: str) -> None:
    with pytest.raises(UsageError, match="lab name"):
        Lab(name=name, runtime=runtime)


def test_two_labs_stand_side_by_side(runtime: FakeRuntime) -> None:
    with Lab(name="a", runtime=runtime) as a, Lab(name="b", runtime=runtime) as b:
        assert {network.subnet for network in a.placed.networks}.isdisjoint(
            network.subnet for network in b.placed.networks
        )
    assert runtime.made() == []


def test_what_an_engine_makes_late_is_removed_too() -> None:
    class Late(FakeRuntime):
        """A killed process had asked for a network; the engine makes it after the removal."""

        late = 0

        def remove(self, lab: str, node: str | None = None) -> None:
            super().remove(lab, node)
            if self.late:
                self.late -= 1
                self.create_network(lab, PlacedNetwork(network=Network(name="lan"), subnet="10.9.9.0/24"))

    late = Late()
    lab = Lab(runtime=late)
    lab.up()
    late.late = 1
    lab.down()
    assert late.made() == []
    lab.up()
    late.late = 100
    with pytest.raises(RunError, match="come back as they are removed"):
        lab.down()


def test_down_twice_is_fine(runtime: FakeRuntime) -> None:
    lab = Lab(runtime=runtime)
    lab.up()
    lab.down()
    lab.down()
    with pytest.raises(UsageError, match="is not up"):
        _ = lab.placed


def test_a_later_process_finds_the_lab_as_it_was_made(runtime: FakeRuntime) -> None:
    lab = Lab(name="a", runtime=runtime, fast=False)
    lab.up()
    with Lab.attach("a", runtime) as again:
        assert again.placed == lab.placed
        assert again.paths == lab.paths
        assert Lab.stands("a", runtime)
    assert Lab.stands("a", runtime), "who attaches does not remove"
    again.down()
    assert not Lab.stands("a", runtime)


def test_attaching_to_nothing_says_how_to_bring_it_up(runtime: FakeRuntime) -> None:
    with pytest.raises(UsageError, match="no lab 'a' stands: bring it up with `testbed up --lab a`"):
        Lab.attach("a", runtime)


def test_attaching_to_half_a_lab_says_how_to_remove_it(runtime: FakeRuntime) -> None:
    Lab(name="a", runtime=runtime).up()
    lab_state.forget("a")
    with pytest.raises(UsageError, match="`testbed down --lab a` removes it"):
        Lab.attach("a", runtime)


def test_an_unknown_node_is_refused_with_those_there_are(runtime: FakeRuntime) -> None:
    with Lab(runtime=runtime) as lab, pytest.raises(UsageError, match="no node 'serve': one of server, client1"):
        lab.run("serve", ["true"])


def test_several_servers_have_no_the_server(runtime: FakeRuntime) -> None:
    nodes = tuple(Node(name=name, role="server", image="i", networks=("lan",)) for name in ("a", "b"))
    with Lab(Topology(networks=(Network(name="lan"),), nodes=nodes), runtime=runtime) as lab:
        with pytest.raises(UsageError, match="has 2 servers"):
            _ = lab.server
        assert len(lab.placed.with_role("server")) == 2


def test_everything_left_is_found_and_removed(runtime: FakeRuntime) -> None:
    Lab(name="a", runtime=runtime).up()
    Lab(name="b", runtime=runtime).up()
    lab_state.forget("b")
    assert {made.lab for made in leftovers([runtime])} == {"a", "b"}
    assert remove_all([runtime]) == ["a", "b"]
    assert runtime.made() == []
    assert remove_all([runtime]) == []


def test_a_lab_of_which_something_stays_does_not_keep_the_others(
    runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        Lab(name=name, runtime=runtime).up()
    remove = runtime.remove

    def refuse_a(lab: str, node: str | None = None) -> None:
        if lab == "a":
            raise RuntimeFault("network 'tb-a.net0' stays")
        remove(lab, node)

    monkeypatch.setattr(runtime, "remove", refuse_a)
    with pytest.raises(RuntimeFault, match=r"'tb-a\.net0' stays"):
        remove_all([runtime])
    assert {made.lab for made in runtime.made()} == {"a"}


def test_a_lab_may_be_made_in_any_thread(runtime: FakeRuntime) -> None:
    thread = threading.Thread(target=Lab(runtime=runtime).up)
    thread.start()
    thread.join()
    assert Lab.stands("testbed", runtime)


def test_one_process_at_a_time_makes_a_lab(monkeypatch: pytest.MonkeyPatch, runtime: FakeRuntime) -> None:
    monkeypatch.setattr(lab_state, "_LOCK_TIMEOUT_S", 0.0)
    with lab_state.locked("a"):
        with pytest.raises(UsageError, match="being made or removed by another process"):
            Lab(name="a", runtime=runtime).up()
        Lab(name="b", runtime=runtime).up()
    Lab(name="a", runtime=runtime).up()


def test_threads_and_processes_take_turns_and_leave_no_lock_behind(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def take_turns() -> None:
        for _ in range(5):
            with lab_state.locked("a"):
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.001)
                inside.pop()

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    assert list((tmp_path / "testbed").iterdir()) == []


def test_a_state_of_another_version_is_named(runtime: FakeRuntime, tmp_path: Path) -> None:
    Lab(name="a", runtime=runtime).up()
    (tmp_path / "testbed" / "a.json").write_text("{}")
    with pytest.raises(RunError, match=r"a\.json was written by another version"):
        Lab.attach("a", runtime)


def test_a_state_folder_that_others_may_write_is_refused(runtime: FakeRuntime, tmp_path: Path) -> None:
    folder = tmp_path / "testbed"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EnvironmentLack, match="not a folder of this user alone"):
        Lab(runtime=runtime).up()
    assert runtime.made() == []


def test_the_state_folder_is_private(runtime: FakeRuntime, tmp_path: Path) -> None:
    Lab(runtime=runtime).up()
    assert os.stat(tmp_path / "testbed").st_mode & 0o077 == 0


@pytest.mark.parametrize("own", [True, False])
def test_a_program_that_cannot_be_ended_does_not_keep_the_lab_standing(
    runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """Nor does an interrupt meanwhile: the lab is removed first, by whom it belongs to."""

    def close(_: Launcher) -> None:
        signal.raise_signal(signal.SIGINT)
        raise RuntimeFault("cannot be signalled")

    Lab(runtime=runtime).up()
    lab = Lab.attach(runtime=runtime)
    lab._own = own
    monkeypatch.setattr(Launcher, "close", close)
    with pytest.raises(RuntimeFault, match="cannot be signalled"), lab:
        pass
    assert bool(runtime.made()) is not own
