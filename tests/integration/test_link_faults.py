"""What goes wrong with a link: it must stop, be seen, or be refused; and what is not ours must stay."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.choose import apply, choose, read_back, reset, set_by
from testbed.link.plans import Effort
from testbed.link.probing import measure_direction
from testbed.link.train import TrainPlan, run_train
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape
from tests.integration.link_measuring import BRIEF, believed
from tests.integration.link_pair import NamespacePlace, Pair, pair_of_namespaces
from tests.integration.link_requirements import need_link_programs

FEW = TrainPlan(count=40, interval_us=1000, settle_ms=30, linger_s=0.1)
BULK = Path(__file__).parents[1] / "realnetem" / "bulk.py"
DELAYED = LinkShape(down=Shape(delay_us=5_000), up=Shape(delay_us=3_000))


@pytest.fixture
def pair() -> Iterator[Pair]:
    need_link_programs()
    with pair_of_namespaces() as made:
        yield made


def arrivals(source: Endpoint, target: Endpoint) -> int:
    return len(run_train(source.place, target.place, target.address, FEW).sequence)


def emulators(place: NamespacePlace) -> list[int]:
    return [process.process.pid for process in place.started if "linkem" in str(process.process.args)]


def place_of(endpoint: Endpoint) -> NamespacePlace:
    assert isinstance(endpoint.place, NamespacePlace)
    return endpoint.place


def tc(endpoint: Endpoint, *words: str) -> str:
    done = endpoint.place.run(["tc", *words])
    assert done.status == 0, done.stderr
    return done.stdout


def iptables(endpoint: Endpoint, *words: str) -> str:
    """Waits for its turn: one lock serves the whole machine, and other labs use it too."""
    done = endpoint.place.run(["iptables-legacy", "-w", "20", *words])
    assert done.status == 0, done.stderr
    return done.stdout


def rules(endpoint: Endpoint) -> str:
    return "".join(iptables(endpoint, "-t", table, "-S") for table in ("raw", "mangle"))


def test_traffic_stops_when_linkem_is_killed_and_the_loss_is_seen(pair: Pair) -> None:
    apply(pair.near, DELAYED, "userspace")
    assert arrivals(pair.far, pair.near) == FEW.count
    for process in place_of(pair.near).started:
        process.signal("KILL")
        process.wait(10)
    assert arrivals(pair.far, pair.near) == 0, "never unshaped in silence"
    with pytest.raises(RuntimeFault, match="linkem is not running any more, so its traffic is stopped"):
        read_back(pair.near, "down")
    with pytest.raises(RuntimeFault, match="not running any more"):
        measure_direction(pair.near, pair.far, "down", DELAYED, LinkShape(), BRIEF)


def test_a_link_can_be_shaped_again_after_linkem_was_killed(pair: Pair) -> None:
    apply(pair.near, DELAYED, "userspace")
    for process in place_of(pair.near).started:
        process.signal("KILL")
        process.wait(10)
    apply(pair.near, DELAYED, "userspace")
    believed(pair, "down", DELAYED)


def test_a_rule_removed_by_hand_is_seen(pair: Pair) -> None:
    apply(pair.near, DELAYED, "userspace")
    iptables(pair.near, "-t", "mangle", "-F")
    with pytest.raises(RuntimeFault, match="the iptables rule is gone, so its traffic is not shaped"):
        read_back(pair.near, "down")


def test_a_qdisc_removed_by_hand_is_seen_by_how_much(pair: Pair) -> None:
    declared = LinkShape(up=Shape(rate_bps=5_000_000))
    apply(pair.near, declared, "tbf")
    tc(pair.near, "qdisc", "del", "dev", "eth0", "root")
    report = measure_direction(pair.near, pair.far, "up", declared, LinkShape(), BRIEF)
    assert report.verdict == "off"
    assert report.deviations[0] == "read back `unshaped`, declared `rate 5mbit`"
    assert "% more" in report.deviations[1]


def test_a_redirection_removed_by_hand_is_seen_and_made_anew(pair: Pair) -> None:
    declared = LinkShape(down=Shape(rate_bps=5_000_000))
    apply(pair.near, declared, "tbf")
    before = tc(pair.near, "qdisc", "show")
    tc(pair.near, "qdisc", "del", "dev", "eth0", "ingress")
    with pytest.raises(RuntimeFault, match="down: the redirection is gone, so its traffic is not shaped"):
        read_back(pair.near, "down")
    with pytest.raises(RuntimeFault, match="the redirection is gone"):
        measure_direction(pair.near, pair.far, "down", declared, LinkShape(), BRIEF)
    apply(pair.near, declared, "tbf")
    assert tc(pair.near, "qdisc", "show") == before
    tc(pair.near, "filter", "del", "dev", "eth0", "ingress")
    with pytest.raises(RuntimeFault, match="the redirection is gone"):
        read_back(pair.near, "down")
    reset(pair.near)
    assert "ingress" not in tc(pair.near, "qdisc", "show"), "an empty one beside our ifb is ours"
    assert "tb-eth0" not in pair.near.place.run(["ip", "link"]).stdout


def test_what_stands_in_the_way_of_one_direction_is_seen_before_the_other_is_changed(pair: Pair) -> None:
    tc(pair.near, "qdisc", "add", "dev", "eth0", "root", "handle", "5:", "pfifo")
    before = (tc(pair.near, "qdisc", "show"), pair.near.place.run(["ip", "-brief", "link"]).stdout)
    rate = Shape(rate_bps=10**7)
    with pytest.raises(UsageError, match="has the qdisc pfifo 5:"):
        apply(pair.near, LinkShape(down=rate, up=rate), "tbf")
    assert (tc(pair.near, "qdisc", "show"), pair.near.place.run(["ip", "-brief", "link"]).stdout) == before
    choice = choose(pair.near, "up", rate)
    assert choice.names == "userspace"
    assert "not tbf: eth0 has the qdisc pfifo 5:, which testbed did not make" in choice.reason


def test_one_backend_s_shape_takes_the_place_of_another_s(pair: Pair) -> None:
    rate, delay = Shape(rate_bps=20_000_000), Shape(delay_us=5_000)
    for shape, backend in ((rate, "tbf"), (delay, "userspace"), (rate, "userspace"), (rate, "tbf")):
        declared = LinkShape(down=shape, up=shape)
        apply(pair.near, declared, backend)
        for direction in DIRECTIONS:
            assert [name for name, _ in set_by(pair.near, direction)] == [backend]
            assert read_back(pair.near, direction) == shape


def test_looking_leaves_no_table_behind(pair: Pair) -> None:
    """Those of a table are hooks for every packet, for good."""
    for direction in DIRECTIONS:
        assert read_back(pair.near, direction) == Shape()
    reset(pair.near)
    assert pair.near.place.run(["cat", "/proc/net/ip_tables_names"]).stdout == ""
    apply(pair.near, LinkShape(up=Shape(delay_us=1_000)), "userspace")
    assert pair.near.place.run(["cat", "/proc/net/ip_tables_names"]).stdout == ""
    assert pair.far.place.run(["cat", "/proc/net/ip_tables_names"]).stdout == "raw\n"


def largest(endpoint: Endpoint) -> tuple[int, int]:
    """Segments and bytes that may pass its interface as one."""
    (link,) = json.loads(endpoint.place.run(["ip", "-d", "-json", "link", "show", "eth0"]).stdout)
    return link["gso_max_segs"], link["gso_max_size"]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_tcp_sends_is_shaped_packet_by_packet(pair: Pair, direction: Direction) -> None:
    """Offload would have 64 KiB pass as one packet: it would be lost, and take of the limit, as one."""
    source, target = (pair.far, pair.near) if direction == "down" else (pair.near, pair.far)
    before = [largest(end) for end in (pair.near, pair.far)]
    apply(pair.near, LinkShape.model_validate({direction: Shape(rate_bps=8_000_000)}), "tbf")
    receiver = place_of(target).start(["python3", str(BULK), "receive"])
    assert receiver.lines(10) == ["ready"]
    sender = place_of(source).start(["python3", str(BULK), target.address])
    sizes = []
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and sender.process.poll() is None:
        listed = json.loads(tc(pair.near, "-json", "-s", "qdisc", "show"))
        sizes += [of["backlog"] / of["qlen"] for of in listed if of["kind"] == "pfifo" and of["qlen"]]
        time.sleep(0.02)
    assert sizes, "it was never seen with something waiting"
    assert median(sizes) < 2 * 1514, "the kernel reads both counts a moment apart; whole ones are of 60 KiB"
    assert receiver.wait(20) == 0
    reset(pair.near)
    assert [largest(end) for end in (pair.near, pair.far)] == before


@pytest.mark.parametrize("backend", ["tbf", "userspace"])
def test_shapes_survive_the_interface_going_down_and_up(pair: Pair, backend: str) -> None:
    shape = Shape(rate_bps=20_000_000) if backend == "tbf" else Shape(delay_us=5_000)
    declared = LinkShape(down=shape, up=shape)
    apply(pair.near, declared, backend)
    for state in ("down", "up"):
        assert pair.near.place.run(["ip", "link", "set", "eth0", state]).status == 0
        expected = 0 if state == "down" else FEW.count
        deadline = time.monotonic() + 5
        while arrivals(pair.far, pair.near) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert arrivals(pair.far, pair.near) == expected
    for direction in DIRECTIONS:
        believed(pair, direction, declared)


@pytest.mark.parametrize("kind", ["root", "ingress"])
def test_somebody_else_s_qdisc_is_refused_by_name_and_stays(pair: Pair, kind: str) -> None:
    if kind == "root":
        tc(pair.near, "qdisc", "add", "dev", "eth0", "root", "handle", "5:", "pfifo")
        shape, what = LinkShape(up=Shape(rate_bps=10**6)), "has the qdisc pfifo 5:"
    else:
        tc(pair.near, "qdisc", "add", "dev", "eth0", "ingress")
        shape, what = LinkShape(down=Shape(rate_bps=10**6)), "has an ingress qdisc that testbed did not make"
    before = tc(pair.near, "qdisc", "show", "dev", "eth0")
    with pytest.raises(UsageError, match=what):
        apply(pair.near, shape, "tbf")
    reset(pair.near)
    assert tc(pair.near, "qdisc", "show", "dev", "eth0") == before


def test_reset_leaves_what_others_made(pair: Pair) -> None:
    pair.near.place.run(["ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1"])
    tc(pair.near, "qdisc", "add", "dev", "other0", "root", "handle", "5:", "pfifo", "limit", "77")
    iptables(pair.near, "-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "-j", "ACCEPT")
    before = (tc(pair.near, "qdisc", "show"), rules(pair.near), rules(pair.far))
    links = pair.near.place.run(["ip", "-brief", "link"]).stdout
    for backend, shape in (("userspace", Shape(delay_us=1_000)), ("tbf", Shape(rate_bps=10**7))):
        apply(pair.near, LinkShape(down=shape, up=shape), backend)
    assert (tc(pair.near, "qdisc", "show"), rules(pair.near), rules(pair.far)) != before
    reset(pair.near)
    reset(pair.near)
    assert (tc(pair.near, "qdisc", "show"), rules(pair.near), rules(pair.far)) == before
    assert pair.near.place.run(["ip", "-brief", "link"]).stdout == links
    ended = [process for end in (pair.near, pair.far) for process in place_of(end).started]
    assert [process.wait(5) for process in ended] == [0, 0], [process.stderr() for process in ended]


def test_changing_a_shape_neither_loses_nor_frees_what_is_on_the_way(pair: Pair) -> None:
    apply(pair.near, LinkShape(down=Shape(delay_us=60_000)), "userspace")
    before = place_of(pair.near).started[:]
    plan = TrainPlan(count=200, interval_us=1000, settle_ms=150, linger_s=0.3)
    command = ["linkprobe", "--receive", "--address", pair.near.address, "--train", "1"]
    receiver = place_of(pair.near).start(command)
    receiver.lines(5.0)
    sender = place_of(pair.far).start(
        ["linkprobe", "--send", "--address", pair.near.address, "--train", "1", "--count", str(plan.count)]
    )
    time.sleep(0.15)
    apply(pair.near, LinkShape(down=Shape(delay_us=20_000)), "userspace")
    sender.wait(10)
    time.sleep(0.3)
    receiver.signal("TERM")
    summary = json.loads(receiver.lines(5.0)[-1])
    delays = [arrived - sent for arrived, sent in zip(summary["arrived_ns"], summary["sent_ns"], strict=True)]
    assert len(delays) == plan.count
    assert min(delays) > 19_900_000
    assert max(delays) > 59_900_000, "some were on the way when it changed"
    assert [process for process in place_of(pair.near).started if process is not receiver] == before, "changed in place"


def test_auto_says_which_backend_and_why(pair: Pair) -> None:
    choice = choose(pair.near, "down", Shape(delay_us=5_000, rate_bps=10**7, limit_pkts=50))
    if BACKENDS.get("netem").lack(pair.near, "down") is None:
        assert choice.names == "netem"
    else:
        assert choice.names == "tbf + userspace"
        assert "not netem: the kernel" in choice.reason
    assert choose(pair.near, "down", Shape()).names == "none"


def test_auto_measured_as_a_whole(pair: Pair) -> None:
    declared = LinkShape(
        down=Shape(delay_us=10_000, rate_bps=8_000_000, loss_percent=2, seed=5 if lacks_netem(pair) else None),
        up=Shape(delay_us=2_000, rate_bps=1_000_000, limit_pkts=40),
    )
    apply(pair.near, declared)
    for direction in DIRECTIONS:
        report = believed(pair, direction, declared, effort=Effort(1.0, 0.4))
        assert report.read_back == declared.toward(direction)


def lacks_netem(pair: Pair) -> bool:
    return BACKENDS.get("netem").lack(pair.near, "down") is not None


def test_a_named_backend_refuses_by_name(pair: Pair) -> None:
    with pytest.raises(UsageError, match=r"tbf cannot do this exactly: delay 5ms .*--link auto"):
        apply(pair.near, LinkShape(down=Shape(delay_us=5_000)), "tbf")
    with pytest.raises(UsageError, match="unknown link backend 'magic': one of netem, tbf, userspace"):
        apply(pair.near, DELAYED, "magic")
    if lacks_netem(pair):
        with pytest.raises(EnvironmentLack, match="netem cannot work here: the kernel"):
            apply(pair.near, DELAYED, "netem")
    assert read_back(pair.near, "down") == Shape()


def test_an_interface_that_does_not_exist_is_named(pair: Pair) -> None:
    wrong = Endpoint(**{**vars(pair.near), "interface": "eth7"})
    with pytest.raises(UsageError, match="near on net0: there is no interface eth7"):
        apply(wrong, LinkShape(up=Shape(rate_bps=10**6)), "tbf")
    with pytest.raises(UsageError, match="near on net0: there is no interface eth7"):
        apply(wrong, LinkShape(down=Shape(rate_bps=10**6)), "tbf")
    assert "tb-eth7" not in pair.near.place.run(["ip", "link"]).stdout


def test_nothing_is_left_when_the_namespaces_go(pair: Pair) -> None:
    apply(pair.near, DELAYED, "userspace")
    assert emulators(place_of(pair.near))
    listed = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert "tb-eth0" not in listed, "ours stand in the node's namespace only"
