"""``testbed link`` and what ``status`` says of links, in a scripted world: one broken link does not hide the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli import main
from testbed.engine.lab import Lab
from testbed.engine.timeline import Timeline
from testbed.errors import RuntimeFault
from testbed.link.base import Endpoint
from testbed.link.lab_links import LabLinks
from testbed.model.link_report import LinkReport
from testbed.model.timeline import at
from testbed.runtime.base import RUNTIMES
from tests.unit.link_world import LinkWorld
from tests.unit.records import link_report


@pytest.fixture
def world() -> LinkWorld:
    return LinkWorld()


@pytest.fixture
def lab(world: LinkWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))
    RUNTIMES.names()
    with world.lab() as lab:
        monkeypatch.setitem(RUNTIMES._entries, "fake", lambda: lab.runtime)
        yield lab


@pytest.fixture
def _shaped(lab: Lab) -> None:
    for node, delay in (("server", "5ms"), ("client1", "7ms")):
        words = ["--network", "net0", "--delay", delay, "--direction", "down"]
        assert main(["link", "set", "--lab", lab.name, *words, node]) == 0


def verb(capsys: pytest.CaptureFixture[str], lab: Lab, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; what came before is forgotten."""
    capsys.readouterr()
    status = main([*words[:2], "--lab", lab.name, *words[2:]])
    seen = capsys.readouterr()
    return status, seen.out, seen.err


def kill_linkem_of_the_server(world: LinkWorld) -> None:
    for key in [key for key in world.emulators if key[0] == "server-link"]:
        del world.emulators[key]


@pytest.mark.usefixtures("_shaped")
def test_a_broken_link_is_shown_and_so_are_the_others(
    world: LinkWorld, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_linkem_of_the_server(world)
    status, out, _ = verb(capsys, lab, "link", "show")
    assert status == 1
    assert out.splitlines() == [
        "server net0 down: broken: server/net0/down: linkem is not running any more, so its traffic is stopped, "
        "declared delay 5ms",
        "server net0 up: unshaped [none]",
        "client1 net0 down: delay 7ms [userspace]",
        "client1 net0 up: unshaped [none]",
    ]
    status, out, _ = verb(capsys, lab, "link", "show", "--json")
    assert status == 1
    broken, *others = json.loads(out)
    assert "linkem is not running" in broken["broken"]
    assert [row["broken"] for row in others] == [None] * 3


@pytest.mark.usefixtures("_shaped")
def test_a_broken_link_does_not_keep_the_others_from_being_measured(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabLinks, "test", broken_for_the_server)
    status, out, err = verb(capsys, lab, "link", "test")
    assert status == 1
    assert err == "server net0: broken: linkem is gone\n"
    assert out.startswith("client1 x up (with x, x): as declared\n")


def broken_for_the_server(_: LabLinks, endpoint: Endpoint, *__: object, **___: object) -> list[LinkReport]:
    if endpoint.node == "server":
        raise RuntimeFault("linkem is gone")
    return [link_report("as declared").model_copy(update={"node": endpoint.node})]


@pytest.mark.usefixtures("_shaped")
def test_status_says_what_shapes_links_and_why_and_who_does_not_see_it(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["status", "--lab", lab.name]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("link ", "note: client1"))]
    assert lines[0].startswith("link server net0: down: delay 5ms; up: unshaped [down userspace: not netem: ")
    assert lines[2] == ("note: client1 net0 down: the packet engine's hosts on client1 do not see it, kernel TCP does")


@pytest.mark.usefixtures("_shaped")
def test_reset_says_how_many(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb(capsys, lab, "link", "reset", "client2")[1] == "no link was shaped\n"
    assert verb(capsys, lab, "link", "reset", "client1")[1] == "1 link is unshaped\n"
    assert verb(capsys, lab, "link", "reset")[1] == "2 links are unshaped\n"


def test_what_a_killed_run_left_is_told(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    Timeline(lab, (at(0.1, "server/net0", "down: loss 1%"),)).__enter__()
    status, _, err = verb(capsys, lab, "link", "show")
    assert status == 0
    assert "note: a run has changed server/net0; if it was killed, `testbed link reset` puts them back" in err
    verb(capsys, lab, "link", "reset")
    assert verb(capsys, lab, "link", "show")[2] == ""
