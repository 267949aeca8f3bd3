"""Prepared changes that come at their moment, for each backend: nothing before, the shape then, nothing left."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from testbed.errors import RuntimeFault
from testbed.link.base import BACKENDS, Endpoint, LinkBackend
from testbed.link.choose import read_back, same
from testbed.link.train import TrainPlan, run_train
from testbed.model.shape import Direction, Shape
from tests.integration.link_pair import Pair, pair_of_namespaces
from tests.integration.link_requirements import need_link_programs

FEW = TrainPlan(count=40, interval_us=1000, settle_ms=30, linger_s=0.1)
SHAPES = {
    "tbf": Shape(rate_bps=20_000_000),
    "userspace": Shape(delay_us=5_000, loss_percent=1),
    "netem": Shape(delay_us=5_000, loss_percent=1),
}
AHEAD_NS = 500_000_000
LONG_S = 30.0


@pytest.fixture
def pair() -> Iterator[Pair]:
    need_link_programs()
    with pair_of_namespaces() as made:
        yield made


@pytest.fixture(params=sorted(SHAPES))
def backend(request: pytest.FixtureRequest, pair: Pair) -> LinkBackend:
    chosen = BACKENDS.get(request.param)
    lack = chosen.lack(pair.near, "down")
    if lack is not None:
        pytest.skip(f"{request.param}: {lack}")
    return chosen


def state(pair: Pair) -> list[str]:
    """All that a backend could leave behind, at both ends."""
    commands = (
        ["tc", "qdisc", "show"],
        ["ls", "/sys/class/net"],
        ["iptables-legacy", "-t", "raw", "-S"],
        ["iptables-legacy", "-t", "mangle", "-S"],
    )
    return [end.place.run(command).stdout for end in (pair.near, pair.far) for command in commands]


def arrivals(source: Endpoint, target: Endpoint) -> int:
    return len(run_train(source.place, target.place, target.address, FEW).sequence)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_held_planned_changed_and_removed(pair: Pair, backend: LinkBackend, direction: Direction) -> None:
    near, shape, before = pair.near, SHAPES[backend.name], state(pair)
    ends = (pair.far, near) if direction == "down" else (near, pair.far)
    backend.hold(near, direction)
    backend.hold(near, direction)
    assert not read_back(near, direction).touches
    assert arrivals(*ends) == FEW.count, "held, everything goes through"

    moment_ns = time.monotonic_ns() + AHEAD_NS
    planned = backend.plan(near, direction, shape, moment_ns)
    early = read_back(near, direction)
    assert time.monotonic_ns() >= moment_ns or not early.touches
    assert planned.outcome(LONG_S) >= moment_ns
    planned.cancel()
    assert same(shape, read_back(near, direction))

    ended = backend.plan(near, direction, Shape(), time.monotonic_ns())
    ended.outcome(LONG_S)
    ended.cancel()
    assert not read_back(near, direction).touches
    assert arrivals(*ends) == FEW.count
    backend.remove(near, direction)
    backend.remove(near, direction)
    assert state(pair) == before


def test_a_change_that_is_taken_back_never_comes(pair: Pair, backend: LinkBackend) -> None:
    backend.hold(pair.near, "down")
    moment_ns = time.monotonic_ns() + AHEAD_NS
    backend.plan(pair.near, "down", SHAPES[backend.name], moment_ns).cancel()
    time.sleep(max(0.0, (moment_ns - time.monotonic_ns()) / 1e9) + 0.2)
    assert not read_back(pair.near, "down").touches


def test_what_is_there_already_is_held_as_it_is(pair: Pair, backend: LinkBackend) -> None:
    shape = SHAPES[backend.name]
    backend.apply(pair.near, "down", shape)
    backend.hold(pair.near, "down")
    assert same(shape, read_back(pair.near, "down"))


def test_a_change_that_cannot_be_made_says_why(pair: Pair) -> None:
    need_link_programs()
    tbf = BACKENDS.get("tbf")
    tbf.hold(pair.near, "up")
    planned = tbf.plan(pair.near, "up", SHAPES["tbf"], time.monotonic_ns() + AHEAD_NS)
    own = ["tc", "qdisc", "add", "dev", "eth0", "root", "handle", "5:", "pfifo"]
    assert pair.near.place.run(own).status == 0
    with pytest.raises(RuntimeFault, match="has the qdisc pfifo 5:, which testbed did not make"):
        planned.outcome(LONG_S)
    planned.cancel()
