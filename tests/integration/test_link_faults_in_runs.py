"""Links that break in the middle of a point: traffic stops or the point is invalid, and others' things stay."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.engine.lab import Lab
from testbed.engine.run import Silent, run
from testbed.engine.sweep import Point
from testbed.link.lab_links import LabLinks
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import mechanisms
from testbed.model.shape import LinkShape, Shape
from testbed.model.topology import Network, Topology
from testbed.runtime.base import Runtime
from testbed.topology.default import default_topology
from testbed.workload.one_byte import OneByte
from tests.integration.conftest import available
from tests.integration.link_requirements import need_link_programs

NAME = f"faults{os.getpid()}"
AFTER_S = 2.0
"""From the start of a point until it breaks: within the load, which begins a second or so after it."""

PROFILE = Profile(rates_per_s=(200,), warm_up_s=0, window_s=5, client_timeout_s=0.5)
SCENARIO = Scenario(
    name="faults",
    title="A link that breaks",
    sentence="It is seen.",
    servers=mechanisms("epoll-lt"),
    workload=OneByte(),
    profiles={"brief": PROFILE},
)


def world(shape: LinkShape) -> Topology:
    default = default_topology()
    server = default.node("server").model_copy(update={"networks": ("net0",), "links": {"net0": shape}})
    return Topology(networks=(Network(name="net0"),), nodes=(server, default.node("client1")))


class Vandal(Silent):
    """Breaks something in the middle of the first point."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._timer = threading.Timer(AFTER_S, work)

    def point_started(self, point: Point) -> None:
        self._timer.start()

    def point_done(self, record: Record) -> None:
        self._timer.join()


@pytest.fixture(params=["docker", "netns"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    need_link_programs()
    chosen: Runtime = request.getfixturevalue("docker_engine") if request.param == "docker" else available("netns")
    return chosen


def broken_run(runtime: Runtime, shape: LinkShape, backend: str, results: Path, work: Callable[[Lab], None]) -> Record:
    with Lab(world(shape), name=NAME, runtime=runtime, link=backend) as lab:
        observer = Vandal(lambda: work(lab))
        (record,) = run(SCENARIO, lab, profile="brief", results=results, observer=observer).records
    return record


def in_server(lab: Lab, *command: str) -> None:
    done = lab.runtime.run(NAME, "server-link", command)
    assert done.status == 0, done.stderr


def replies(record: Record) -> list[int]:
    """Second by second; those that were counted at the end of the load are left out."""
    assert record.intervals is not None
    return record.intervals.total("replies")[:-1]


def test_linkem_killed_in_mid_run_stops_the_traffic_and_the_point_is_invalid(runtime: Runtime, tmp_path: Path) -> None:
    delayed = LinkShape(down=Shape(delay_us=2_000))
    kill = "kill -9 $(cat /proc/[0-9]*/stat | grep '(linkem)' | cut -d' ' -f1)"
    record = broken_run(runtime, delayed, "userspace", tmp_path, lambda lab: in_server(lab, "sh", "-c", kill))
    assert record.verdict is Verdict.INVALID
    assert any("linkem is not running any more, so its traffic is stopped" in reason for reason in record.reasons)
    assert replies(record)[0] > 0
    assert replies(record)[-1] == 0, "never unshaped in silence"


@pytest.mark.parametrize(
    ("direction", "where", "reason"),
    [
        ("up", "root", "link server net0 up is now `unshaped`, declared `rate 100mbit`"),
        (
            "down",
            "ingress",
            "link server net0 down broke: server on net0 down: the redirection is gone, so its traffic is not shaped",
        ),
    ],
)
def test_a_qdisc_removed_in_mid_run_makes_the_point_invalid(
    runtime: Runtime, tmp_path: Path, direction: str, where: str, reason: str
) -> None:
    rate = LinkShape.model_validate({direction: Shape(rate_bps=100_000_000)})
    remove = ("tc", "qdisc", "del", "dev", "eth0", where)
    record = broken_run(runtime, rate, "tbf", tmp_path, lambda lab: in_server(lab, *remove))
    assert record.verdict is Verdict.INVALID
    assert reason in record.reasons


def test_a_link_down_and_up_in_mid_run_keeps_its_shape_and_the_point_is_invalid(tmp_path: Path) -> None:
    def flap(lab: Lab) -> None:
        links = LabLinks(lab.runtime, lab.placed)
        cable = links.cable(links.endpoint("server", "net0"))
        for state in ("down", "up"):
            index = ["ip", "-o", "link"]
            listed = subprocess.run(
                ["nsenter", f"--net={cable.namespace}", *index], capture_output=True, text=True, check=True
            )
            name = next(line.split(": ")[1] for line in listed.stdout.splitlines() if line.startswith(f"{cable.port}:"))
            port = name.partition("@")[0]
            subprocess.run(["nsenter", f"--net={cable.namespace}", "ip", "link", "set", port, state], check=True)
            time.sleep(0.3)

    need_link_programs()
    rate = LinkShape(up=Shape(rate_bps=100_000_000))
    record = broken_run(available("netns"), rate, "tbf", tmp_path, flap)
    assert record.verdict is Verdict.INVALID
    assert any("no timeline says so (+2 changes of carrier)" in reason for reason in record.reasons)
    assert not any("is now" in reason for reason in record.reasons), "the shape has survived"
    assert replies(record)[-1] > 0


def _listing(namespace: str | None) -> str:
    enter = [] if namespace is None else ["ip", "netns", "exec", namespace]
    shown = [subprocess.run([*enter, *words], capture_output=True, text=True, check=True).stdout for words in _LISTED]
    return "".join(shown)


_LISTED = (["tc", "qdisc", "show", "dev", "lo"], ["iptables-legacy", "-t", "mangle", "-S"], ["ip", "-brief", "link"])


def test_a_lab_killed_while_shaped_leaves_nothing_and_touches_nothing_of_others(
    runtime: Runtime, tmp_path: Path
) -> None:
    stranger = f"tb-stranger-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", stranger], check=True)
    own = ["ip", "netns", "exec", stranger, "tc", "qdisc", "add", "dev", "lo", "root", "handle", "5:", "pfifo"]
    subprocess.run([*own, "limit", "77"], check=True)
    before = _listing(stranger)
    script = (
        "import sys, time\n"
        "from testbed.engine.lab import Lab\n"
        "from testbed.model.shape import LinkShape, Shape\n"
        "from tests.integration.test_link_faults_in_runs import world\n"
        "shape = LinkShape(down=Shape(delay_us=2000), up=Shape(rate_bps=10**8))\n"
        "Lab(world(shape), name=sys.argv[1], runtime=sys.argv[2]).up()\n"
        "print('shaped', flush=True)\n"
        "time.sleep(60)\n"
    )
    try:
        command = [sys.executable, "-c", script, NAME, runtime.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as maker:
            assert maker.stdout is not None
            assert maker.stdout.readline() == "shaped\n"
            maker.kill()
        assert {made.name for made in runtime.made(NAME)} >= {"server", "server-link"}
        done = subprocess.run(
            [sys.executable, "-m", "testbed.cli", "down", "--lab", NAME], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not runtime.made(NAME)
        assert _listing(stranger) == before
        assert not _emulators_of(NAME)
        assert not [line for line in _listing(None).splitlines() if "tb-eth" in line]
    finally:
        runtime.remove(NAME)
        subprocess.run(["ip", "netns", "delete", stranger], check=True)


def _emulators_of(lab: str) -> list[str]:
    """linkem processes in a namespace or container of the lab, by what their command lines and folders say."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            text = (process / "comm").read_text() + (process / "cgroup").read_text()
        except OSError:
            continue
        if text.startswith("linkem\n") and lab in text:
            found.append(text)
    return found
