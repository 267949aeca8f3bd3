"""Timelines under runs, in a scripted world: on time, late, refused, failed, and always put back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.engine.lab import Lab
from testbed.engine.run import Silent, run
from testbed.engine.sweep import Point
from testbed.engine.timeline import Timeline
from testbed.errors import EnvironmentLack, RunError, UsageError
from testbed.link.lab_links import LabLinks
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import mechanisms
from testbed.model.shape import LinkShape, Shape
from testbed.model.timeline import LinkChange, at
from tests.unit.link_world import LinkWorld, quiet_link_world
from tests.unit.records import SCENARIO

FAST = Profile(rates_per_s=(1000,), warm_up_s=0, window_s=0.01, client_timeout_s=0.1)
LOSSY = (at(0.002, "server/net0", "down: loss 2%"), at(0.004, "server/net0", "declared"))


def scenario(*timeline: LinkChange) -> Scenario:
    """One point with a timeline."""
    changes = {"profiles": {"quick": FAST}, "timeline": timeline, "servers": mechanisms("select")}
    return SCENARIO.model_copy(update=changes)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> LinkWorld:
    return quiet_link_world(monkeypatch)


@pytest.fixture
def lab(world: LinkWorld) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


def only_record(lab: Lab, results: Path, *timeline: LinkChange) -> Record:
    (record,) = run(scenario(*timeline), lab, results=results).records
    return record


def test_changes_come_in_order_and_stand_in_the_record(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    record = only_record(lab, tmp_path, *reversed(LOSSY))
    assert record.verdict is Verdict.VALID, record.reasons
    assert [loss for _, loss in world.changes] == ["0.0200000000", "0.0000000000"]
    assert (world.changes[1][0] - world.changes[0][0]) == 2_000_000
    seen = record.evidence["timeline"]
    assert [change["change"] for change in seen] == [
        "0.002 s: server/net0 down: loss 2%",
        "0.004 s: server/net0 declared",
    ]
    assert [change["declared_s"] for change in seen] == [0.002, 0.004]
    assert [change["applied_s"] for change in seen] == pytest.approx([0.002, 0.004])
    assert all(change["late_ms"] == pytest.approx(0) and change["error"] is None for change in seen)


def test_counts_over_time_are_kept_for_each_network(lab: Lab, tmp_path: Path) -> None:
    intervals = only_record(lab, tmp_path, *LOSSY).intervals
    assert intervals is not None
    assert set(intervals.networks) == {"net0", "net1"}
    assert intervals.interval_s == 0.1
    assert intervals.total("replies") == [8 * 125]
    assert intervals.total("started") == [8 * 130]


def test_links_are_put_back_as_they_were(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    links = LabLinks(lab.runtime, lab.placed)
    before = LinkShape(down=Shape(delay_us=3_000))
    links.shape(links.endpoint("server", "net0"), before, "userspace")
    emulators, rules = dict(world.emulators), set(world.rules)
    record = only_record(lab, tmp_path, LOSSY[0])
    assert record.verdict is Verdict.VALID, record.reasons
    assert [loss for _, loss in world.changes] == ["0.0200000000"]
    assert (world.emulators, world.rules) == (emulators, rules)
    assert links.declared(links.endpoint("server", "net0")) == before


def test_what_emulated_hosts_send_is_seen_where_it_arrives(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    record = only_record(lab, tmp_path, at(0.002, "client1/net0", "up: loss 2%"))
    assert record.verdict is Verdict.VALID, record.reasons
    assert "0.0200000000" in [loss for _, loss in world.changes]


def test_what_the_kernel_drops_before_linkem_makes_a_point_invalid(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    links = LabLinks(lab.runtime, lab.placed)
    links.shape(links.endpoint("server", "net0"), LinkShape(down=Shape(delay_us=5000)))
    assert only_record(lab, tmp_path / "well").verdict != Verdict.INVALID
    world.drops = 1
    record = only_record(lab, tmp_path / "badly")
    assert record.verdict == Verdict.INVALID
    assert "link server/net0/down (userspace, at server): the kernel dropped" in "".join(record.reasons)


def test_links_that_were_not_shaped_are_not_shaped_afterwards(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    only_record(lab, tmp_path, LOSSY[0])
    assert world.changes
    assert not world.emulators
    assert not world.rules


def test_a_change_that_comes_late_makes_the_point_suspect(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    world.late_ns = 11_000_000
    record = only_record(lab, tmp_path, LOSSY[0])
    assert record.verdict is Verdict.SUSPECT
    assert record.reasons == ("`0.002 s: server/net0 down: loss 2%` came 11.0 ms late",)


def test_a_change_that_fails_makes_the_point_invalid(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    world.deaf = True
    record = only_record(lab, tmp_path, LOSSY[0])
    assert record.verdict is Verdict.INVALID
    assert "was not made: server/net0/down: linkem: nobody answers on this queue" in record.reasons[0]
    assert record.reasons[1] == "link server net0 down is now `unshaped`, the timeline left `loss 2%`"
    assert not world.emulators


def test_a_link_that_breaks_after_its_change_makes_the_point_invalid(
    world: LinkWorld, lab: Lab, tmp_path: Path
) -> None:
    world.dies = True
    record = only_record(lab, tmp_path, LOSSY[0])
    assert record.verdict is Verdict.INVALID
    assert "link server net0 down broke: server/net0/down: linkem is not running any more" in record.reasons[0]
    assert not world.rules


def test_links_are_put_back_when_the_point_fails(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    world.fail_servers = 2  # the point, and its second try
    with pytest.raises(RunError, match="1 of 1 points failed"):
        only_record(lab, tmp_path, LOSSY[0])
    assert not world.emulators
    assert not world.rules


class Interrupted(Silent):
    """Ctrl-C between two points."""

    def point_done(self, record: Record) -> None:
        raise KeyboardInterrupt


class Told(Silent):
    """Notes that links were put back, and when points start."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def links_put_back(self) -> None:
        self.heard.append("put back")

    def point_started(self, point: Point) -> None:
        self.heard.append("point")


def test_what_a_killed_run_left_is_put_back_by_the_next_one(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    killed = Timeline(lab, LOSSY[:1]).__enter__().held()
    killed.__enter__()
    assert world.emulators, "as if it was killed in the middle"
    observer = Told()
    run(scenario(), lab, results=tmp_path, observer=observer)
    assert observer.heard == ["put back", "point"]
    assert not world.emulators
    again = Told()
    run(scenario(), lab, results=tmp_path, observer=again)
    assert again.heard == ["point"]


def test_ctrl_c_leaves_nothing_to_put_back(world: LinkWorld, lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(scenario(*LOSSY), lab, results=tmp_path, observer=Interrupted())
    assert not world.emulators
    observer = Told()
    run(scenario(), lab, results=tmp_path, observer=observer)
    assert observer.heard == ["point"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at(0.001, "server/net7", "loss 1%"), "server is not on network 'net7': one of net0, net1"),
        (at(0.001, "nobody/net0", "down"), "lab 'scripted' has no node 'nobody': one of server, client1"),
        (at(0.001, "net7", "down"), "lab 'scripted' has no network 'net7': one of net0, net1"),
        (at(0.001, "server/net0", "up: loss 1%"), "up: the packet engine's hosts on client1, client2"),
        (at(0.001, "client1/net0", "down: loss 1%"), "down: the packet engine's hosts on client1 do not see userspace"),
    ],
)
def test_what_the_lab_cannot_do_is_refused_before_anything_is_changed(
    world: LinkWorld, lab: Lab, tmp_path: Path, change: LinkChange, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(scenario(change), lab, results=tmp_path)
    assert message in str(caught.value)
    assert change.text() in str(caught.value)
    assert not world.emulators
    assert not list(tmp_path.iterdir())


def test_down_needs_the_node_s_cable(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLack, match="cannot go down and up; to fix it: run testbed as root"):
        run(scenario(at(0.001, "net1", "down")), lab, results=tmp_path)
