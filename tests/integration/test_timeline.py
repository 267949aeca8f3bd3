"""Links that change while the load runs, on real runtimes: seen by the clients, on record, and always put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.engine.lab import Lab
from testbed.engine.run import run
from testbed.link.carrier import Carrier
from testbed.link.choose import read_back
from testbed.link.lab_links import LabLinks
from testbed.model.record import Record
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import mechanisms
from testbed.model.shape import DIRECTIONS, Shape
from testbed.model.timeline import LinkChange, at
from testbed.model.topology import Topology
from testbed.runtime.base import Runtime
from testbed.topology.default import default_topology
from testbed.workload.one_byte import OneByte
from tests.integration.conftest import available
from tests.integration.link_requirements import need_link_programs

NAME = f"timeline{os.getpid()}"
RATE_PER_S = 300


def world() -> Topology:
    """The server on both networks, with one client on each."""
    default = default_topology()
    nodes = tuple(default.node(name) for name in ("server", "client1", "client5"))
    return Topology(networks=default.networks, nodes=nodes)


def scenario(*timeline: LinkChange, window_s: float) -> Scenario:
    profile = Profile(rates_per_s=(RATE_PER_S,), warm_up_s=0.1, window_s=window_s, client_timeout_s=0.5)
    return Scenario(
        name="changing",
        title="Changing",
        sentence="Links change.",
        servers=mechanisms("epoll-lt"),
        workload=OneByte(),
        timeline=timeline,
        profiles={"quick": profile},
        figures=("timeline",),
    )


@pytest.fixture(scope="module", params=["docker", "netns"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    need_link_programs()
    chosen: Runtime = request.getfixturevalue("docker_engine") if request.param == "docker" else available("netns")
    with Lab(world(), name=NAME, runtime=chosen) as lab:
        yield lab


def replies_between(record: Record, network: str, begin_s: float, end_s: float) -> int:
    """In the whole intervals between two moments."""
    assert record.intervals is not None
    step = record.intervals.interval_s
    counts = record.intervals.networks[network].replies
    return sum(count for index, count in enumerate(counts) if begin_s <= index * step and (index + 1) * step <= end_s)


def carriers(lab: Lab) -> list[bool]:
    """Of the server's cables and their bridges: whether each is up."""
    links, states = LabLinks(lab.runtime, lab.placed), []
    for network in lab.server.addresses:
        cable = links.cable(links.endpoint("server", network))
        for index in (cable.port, cable.bridge):
            carrier = Carrier(cable.namespace, index)
            states.append(carrier.is_up())
            carrier.close()
    return states


def assert_put_back(lab: Lab) -> None:
    assert carriers(lab) == [True] * 4
    links = LabLinks(lab.runtime, lab.placed)
    for network in lab.server.addresses:
        assert [read_back(links.endpoint("server", network), side) for side in DIRECTIONS] == [Shape(), Shape()]


def test_what_changes_is_seen_on_its_network_alone_and_put_back(lab: Lab, tmp_path: Path) -> None:
    timeline = (
        at(1.0, "net1", "down"),
        at(2.5, "net1", "up"),
        at(3.0, "server/net0", "down: loss 100%"),
        at(4.5, "server/net0", "declared"),
        at(5.0, "server/net0", "down"),
        at(6.0, "server/net0", "up"),
        at(8.7, "net0", "down"),
    )
    (record,) = run(scenario(*timeline, window_s=8.9), lab, results=tmp_path).records
    seen = record.evidence["timeline"]
    assert [change["declared_s"] for change in seen] == [change.at_s for change in timeline]
    assert [change["error"] for change in seen] == [None] * len(timeline)
    assert all(change["late_ms"] >= 0 for change in seen), "never before its moment"
    late = [change for change in seen if change["late_ms"] > 10]
    assert sum("ms late" in reason and "`" in reason for reason in record.reasons) == len(late)
    assert record.evidence["timeline_links_off"] == []
    assert record.evidence["carrier_changes"] == 0, "those of the timeline are known"

    applied = [change["applied_s"] for change in seen]
    for network, index in (("net1", 0), ("net0", 2), ("net0", 4)):
        # What the server had heard before may still be answered.
        begin_s, end_s = applied[index] + 0.1, timeline[index + 1].at_s
        other = "net1" if network == "net0" else "net0"
        assert replies_between(record, network, begin_s, end_s) == 0, timeline[index]
        assert replies_between(record, other, begin_s, end_s) > 0, timeline[index]
        assert replies_between(record, network, 0, timeline[index].at_s) > 0
    assert replies_between(record, "net0", 6.0, 8.7) > 0, "back as soon as the server has found its neighbours again"
    assert_put_back(lab)


def test_a_rate_is_set_and_taken_away_by_the_backend_that_is_named(lab: Lab, tmp_path: Path) -> None:
    timeline = (at(0.3, "server/net0", "up: rate 50mbit"), at(0.6, "server/net0", "up: rate 20mbit"))
    with Lab.attach(NAME, lab.runtime, link="tbf") as same:
        done = run(scenario(*timeline, window_s=0.7), same, results=tmp_path)
    (record,) = done.records
    assert [change["error"] for change in record.evidence["timeline"]] == [None, None]
    assert record.evidence["timeline_links_off"] == []
    rates = {report["read_back"]["rate_bps"] for report in done.manifest.links if report["direction"] == "up"}
    assert rates == {50_000_000, 20_000_000}, "each was measured before the first point"
    assert_put_back(lab)


@contextmanager
def changing_run(lab: Lab, results: Path) -> Iterator[subprocess.Popen[str]]:
    """``testbed run`` in the lab that stands, as soon as its timeline has taken a network down."""
    file = results / "changing.py"
    file.write_text(
        "from testbed import OneByte, Profile, Scenario, at, mechanisms\n"
        "profile = Profile(rates_per_s=(100,), warm_up_s=0, window_s=60)\n"
        "SCENARIO = Scenario(name='changing', title='t', sentence='s', servers=mechanisms('poll'),\n"
        "    workload=OneByte(),\n"
        "    timeline=(at(0.2, 'server/net0', 'down: loss 50%'), at(0.4, 'net1', 'down'), at(59, 'net1', 'up')),\n"
        "    profiles={'quick': profile})\n"
    )
    command = [sys.executable, "-m", "testbed.cli", "run", str(file), "--lab", NAME, "--results", str(results)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while all(carriers(lab)):
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline, "the network did not go down"
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_puts_its_links_back(lab: Lab, tmp_path: Path, number: signal.Signals) -> None:
    with changing_run(lab, tmp_path) as process:
        process.send_signal(number)
        assert process.wait(60) == 130
    assert_put_back(lab)


def test_what_a_killed_run_left_is_seen_and_reset(lab: Lab, tmp_path: Path) -> None:
    with changing_run(lab, tmp_path) as process:
        process.kill()
        process.wait()
    assert not all(carriers(lab))
    shown = subprocess.run(
        [sys.executable, "-m", "testbed.cli", "link", "show", "--json", "--lab", NAME],
        capture_output=True,
        text=True,
        check=True,
    )
    down = next(row for row in json.loads(shown.stdout) if row["direction"] == "down")
    assert (down["declared"]["loss_percent"], down["read_back"]["loss_percent"]) == (0, 50)
    reset = [sys.executable, "-m", "testbed.cli", "link", "reset", "--lab", NAME]
    subprocess.run(reset, capture_output=True, check=True)
    assert_put_back(lab)
