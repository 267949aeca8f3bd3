"""The log of a node: whole lines under their program's title, bounded, gone with the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.runtime import node_log
from testbed.runtime.node_log import ProgramLog


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))


def test_programs_take_turns_by_whole_lines() -> None:
    node_log.begin("a", "server")
    one, two = ProgramLog("a", "server", "one"), ProgramLog("a", "server", "two")
    one.take(b"half")
    two.take(b"whole\nand ")
    one.take(b" a line\n")
    two.end()
    one.end()
    assert node_log.read("a", "server") == "two: whole\none: half a line\ntwo: and \n"


def test_the_oldest_lines_of_a_long_log_go() -> None:
    node_log.begin("a", "server")
    log = ProgramLog("a", "server", "seq")
    for number in range(2000):
        log.take(f"{number} {'x' * 1000}\n".encode())
    kept = node_log.read("a", "server")
    assert len(kept) <= 256 * 1024
    assert kept.splitlines()[-1].startswith("seq: 1999 ")


@pytest.mark.parametrize("node", ["x", None])
def test_a_log_goes_with_its_node_and_with_its_lab(node: str | None) -> None:
    node_log.begin("a", "x")
    log = ProgramLog("a", "x", "old")
    log.take(b"line\n")
    assert node_log.read("a", "x") == "old: line\n"
    node_log.forget("a", node)
    log.take(b"late\n")
    assert node_log.read("a", "x") == ""


def test_a_node_that_is_made_again_begins_with_an_empty_log() -> None:
    node_log.begin("a", "x")
    ProgramLog("a", "x", "old").take(b"line\n")
    node_log.begin("a", "x")
    assert node_log.read("a", "x") == ""
