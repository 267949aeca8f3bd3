"""Ctrl-C and its kin while a lab is made or removed: nothing is left half, and nothing appears afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from testbed.engine.interrupts import only_first_interrupts, uninterrupted
from testbed.engine.lab import Lab
from testbed.errors import RuntimeFault
from testbed.model.placed import PlacedNode, PlacedTopology
from testbed.runtime.fake import FakeRuntime


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))


def test_nodes_under_way_are_awaited_before_the_clean_up() -> None:
    class Slow(FakeRuntime):
        """The server fails at once, while a client is still being made."""

        def __init__(self) -> None:
            super().__init__()
            self.failed = threading.Event()

        def create_node(self, placed: PlacedTopology, node: PlacedNode) -> None:
            if node.name == "server":
                self.failed.set()
                raise RuntimeFault("no")
            self.failed.wait(5)
            threading.Event().wait(0.05)
            super().create_node(placed, node)

    slow = Slow()
    with pytest.raises(RuntimeFault):
        Lab(runtime=slow).up()
    assert slow.made() == []


def test_only_the_first_signal_interrupts() -> None:
    steps: list[str] = []

    def interrupted_three_times() -> None:
        with only_first_interrupts():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGHUP)
                steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        interrupted_three_times()
    assert steps == ["cleaned up"]


def test_who_insists_gets_out() -> None:
    steps: list[str] = []

    def interrupted_often() -> None:
        with uninterrupted():
            for _ in range(10):
                signal.raise_signal(signal.SIGINT)
                steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        interrupted_often()
    assert len(steps) == 3


def test_an_interrupt_waits_for_the_end_of_a_removal() -> None:
    class Interrupted(FakeRuntime):
        """Ctrl-C arrives in the middle of the removal."""

        def remove(self, lab: str, node: str | None = None) -> None:
            signal.raise_signal(signal.SIGINT)
            super().remove(lab, node)

    interrupted = Interrupted()
    lab = Lab(runtime=interrupted)
    lab.up()
    with pytest.raises(KeyboardInterrupt):
        lab.down()
    assert interrupted.made() == []


@pytest.mark.parametrize("slow", ["create_network", "create_node"])
def test_what_the_engine_still_makes_when_an_interrupt_comes_is_waited_for_and_removed(slow: str) -> None:
    class Slow(FakeRuntime):
        """Two signals arrive while it makes the first network, or nodes; what it makes is there a little later."""

        def _note(self, method: str, name: str) -> None:
            super()._note(method, name)
            if method == slow and name in ("net0", "server"):
                for _ in range(2):
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.1)

    engine = Slow()
    with pytest.raises(KeyboardInterrupt):
        Lab(runtime=engine).up()
    time.sleep(0.3)
    assert engine.made() == []
    assert (slow, "net1") not in engine.calls


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_under_nohup_a_closed_terminal_disturbs_nobody() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with only_first_interrupts():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
