"""The links of a lab in a scripted world: refused, undone, remembered, and held against what the load sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from testbed.engine.lab import Lab
from testbed.engine.run import Silent, run
from testbed.errors import RuntimeFault, UsageError
from testbed.link import choose
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.lab_links import LabLinks
from testbed.model.link_report import LinkReport
from testbed.model.record import Verdict
from testbed.model.scenario import Profile
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape
from tests.unit.link_world import LinkWorld, quiet_link_world
from tests.unit.records import SCENARIO, link_report

DELAYED = LinkShape(down=Shape(delay_us=5_000))
FAST = Profile(rates_per_s=(1000,), warm_up_s=0, window_s=0.01, client_timeout_s=0.1)
QUICK = SCENARIO.model_copy(update={"profiles": {"quick": FAST}, "servers": SCENARIO.servers[:1]})
RATE = LinkShape(down=Shape(delay_us=1_000), up=Shape(rate_bps=10**7))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> LinkWorld:
    return quiet_link_world(monkeypatch)


@pytest.fixture
def lab(world: LinkWorld) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


@pytest.fixture
def links(lab: Lab) -> LabLinks:
    return LabLinks(lab.runtime, lab.placed)


@pytest.fixture
def server(links: LabLinks) -> Endpoint:
    return links.endpoint("server", "net0")


def test_sidecars_are_made_only_where_they_are_needed(lab: Lab, links: LabLinks, server: Endpoint) -> None:
    def sidecars() -> set[str]:
        return {made.name for made in lab.runtime.made(lab.name) if made.name.endswith("-link")}

    assert [choose.read_back(server, side) for side in DIRECTIONS] == [Shape(), Shape()]
    links.shape(server, DELAYED)
    links.reset(server)
    assert sidecars() == {"server-link"}
    assert len(server.neighbours) == 5
    links.shape(links.endpoint("client1", "net0"), LinkShape(up=Shape(delay_us=1_000)))
    assert len(sidecars()) == 6, "up is shaped wherever it arrives"


def test_what_one_direction_refuses_changes_nothing_in_the_other(
    world: LinkWorld, links: LabLinks, server: Endpoint
) -> None:
    with pytest.raises(UsageError, match=r"userspace cannot do this exactly: rate up \(each of 5 receivers"):
        links.shape(server, RATE, "userspace")
    assert not world.emulators
    assert not world.rules
    assert list(links.touched()) == []


def test_what_fails_in_the_middle_is_undone(
    world: LinkWorld, links: LabLinks, server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    links.shape(server, DELAYED, "userspace")
    emulators, rules, kept = dict(world.emulators), set(world.rules), dict(links.kept())
    apply = BACKENDS.get("userspace").apply

    def fails_for_up(endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        if direction == "up":
            raise RuntimeFault("no more queues")
        apply(endpoint, direction, shape)

    monkeypatch.setattr(BACKENDS.get("userspace"), "apply", fails_for_up)
    with pytest.raises(RuntimeFault, match="no more queues"):
        links.shape(server, LinkShape(down=Shape(delay_us=9_000), up=Shape(delay_us=9_000)), "userspace")
    assert (world.emulators, world.rules, dict(links.kept())) == (emulators, rules, kept)
    assert choose.read_back(server, "down") == DELAYED.down


def test_what_cannot_be_undone_stays_known(links: LabLinks, server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeFault("broken")

    monkeypatch.setattr(choose, "put", fails)
    with pytest.raises(RuntimeFault, match=r"broken; and what server on net0 was before cannot be put back"):
        links.shape(server, DELAYED, "userspace")
    assert links.declared(server) == DELAYED, "so that a reset looks there"


def test_backends_and_their_reasons_are_kept(links: LabLinks, server: Endpoint) -> None:
    links.shape(server, DELAYED)
    ((name, kept),) = links.kept()
    assert name == "server net0"
    assert kept.by.keys() == {"down"}
    assert kept.by["down"].startswith("userspace: not netem: the node's network namespace cannot be entered")
    assert "; not tbf: " in kept.by["down"]
    assert kept.missed == ()


@pytest.mark.parametrize(
    ("node", "shape", "said"),
    [
        ("client1", DELAYED, "client1 net0 down: the packet engine's hosts on client1 do not see userspace there"),
        (
            "server",
            LinkShape(up=Shape(delay_us=1_000)),
            "server net0 up: the packet engine's hosts on client1, client2",
        ),
    ],
)
def test_a_declared_link_that_the_load_would_not_see_is_refused_by_the_run(
    links: LabLinks, lab: Lab, tmp_path: Path, node: str, shape: LinkShape, said: str
) -> None:
    endpoint = links.endpoint(node, "net0")
    links.shape(endpoint, shape)
    ((_, kept),) = links.kept()
    assert "do not see it, kernel TCP does" in kept.missed[0]
    with pytest.raises(UsageError) as caught:
        run(QUICK, lab, results=tmp_path)
    assert said in str(caught.value)
    assert "or the link's other end" in str(caught.value)
    assert not list(tmp_path.iterdir())


class Heard(Silent):
    """Notes what is told of links."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def links_measured(self, reports: Sequence[LinkReport]) -> None:
        self.heard += (report.text() for report in reports)


@pytest.mark.parametrize(
    ("verdict", "point"),
    [("as declared", Verdict.VALID), ("cannot tell", Verdict.SUSPECT), ("off", Verdict.INVALID)],
)
def test_each_measured_link_is_told_and_judges_the_points(
    links: LabLinks,
    server: Endpoint,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verdict: str,
    point: Verdict,
) -> None:
    links.shape(server, DELAYED)
    report = link_report(verdict).model_copy(update={"why": "userspace: asked for userspace"})
    monkeypatch.setattr(LabLinks, "test", lambda *_: [report])
    observer = Heard()
    done = run(QUICK, lab, results=tmp_path, observer=observer)
    assert f"[userspace: asked for userspace]: {verdict}" in observer.heard[0]
    assert done.manifest.links[0]["why"] == "userspace: asked for userspace"
    for record in done.records:
        assert record.verdict is point
        assert any("delay 9ms, declared 5ms" in reason for reason in record.reasons) == (point is not Verdict.VALID)
