"""A run in a lab with a shaped link: measured before the first point, and points are invalid once it is broken."""

from __future__ import annotations

import os
from pathlib import Path

from testbed import OneByte, Scenario, mechanisms
from testbed.engine.lab import Lab
from testbed.engine.run import Silent, run
from testbed.engine.sweep import Point
from testbed.model.record import Verdict
from testbed.model.scenario import Profile
from testbed.model.shape import LinkShape, Shape
from testbed.model.topology import Network, Topology
from testbed.topology.default import default_topology
from tests.integration.conftest import available
from tests.integration.link_requirements import need_link_programs

RATE = LinkShape(up=Shape(rate_bps=200_000_000))
SCENARIO = Scenario(
    name="shaped",
    title="One-byte workload over a shaped link",
    sentence="A link that breaks makes points invalid.",
    servers=mechanisms("epoll-lt"),
    workload=OneByte(),
    profiles={"brief": Profile(rates_per_s=(300,), repetitions=2, warm_up_s=0.1, window_s=0.3)},
)


def world() -> Topology:
    default = default_topology()
    server = default.node("server").model_copy(update={"networks": ("net0",), "links": {"net0": RATE}})
    return Topology(networks=(Network(name="net0"),), nodes=(server, default.node("client1")))


class Vandal(Silent):
    """Removes the server's qdisc before the second point."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._started = 0

    def point_started(self, point: Point) -> None:
        self._started += 1
        if self._started == 2:
            removed = ["tc", "qdisc", "del", "dev", "eth0", "root"]
            assert self._lab.runtime.run(self._lab.name, "server-link", removed).status == 0


def test_a_qdisc_removed_in_mid_run_makes_the_next_points_invalid(tmp_path: Path) -> None:
    need_link_programs()
    with Lab(world(), name=f"runlinks{os.getpid()}", runtime=available("netns"), link="tbf") as lab:
        done = run(SCENARIO, lab, profile="brief", results=tmp_path, observer=Vandal(lab))
    reports = {report["direction"]: report for report in done.manifest.links}
    assert reports["up"]["read_back"]["rate_bps"] == 200_000_000
    assert reports["up"]["measured"]["rate_bps"] > 100_000_000
    before, after = done.records
    gone = "link server net0 up is now `unshaped`, declared `rate 200mbit`"
    assert gone not in before.reasons
    assert gone in after.reasons
    assert after.verdict is Verdict.INVALID
    assert gone in after.evidence["links_off"]
