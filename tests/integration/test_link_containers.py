"""The link backends on two containers of a lab, through their sidecars: what conformance asks of bare namespaces.

A part of that suite, for every command in a container takes its time: each kind of shape once. linkem has no real-time
priority there: where it has to wait for a CPU it is late, and says so. On such a machine what fails says nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed.link.base import Place
from testbed.link.choose import reset
from testbed.model.shape import Distribution
from testbed.runtime.base import Runtime
from tests.integration import test_link_conformance as conformance
from tests.integration.link_pair import Pair, pair_of_nodes
from tests.integration.link_requirements import need_link_programs

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def world(docker_engine: Runtime) -> Iterator[Pair]:
    need_link_programs()
    with pair_of_nodes(f"linkconf{os.getpid()}", docker_engine) as pair:
        yield pair


@pytest.fixture
def pair(world: Pair) -> Iterator[Pair]:
    yield world
    reset(world.near)


TOO_LATE_NS = 1_000_000


@contextmanager
def unless_cpus_are_short(pair: Pair) -> Iterator[None]:
    """A failure is a skip where linkem itself says that one packet in a hundred was late by more than any link may be
    off."""
    try:
        yield
    except AssertionError:
        late_ns = max((lateness_ns(place) for place in (pair.near.place, pair.far.place)), default=0)
        if late_ns > TOO_LATE_NS:
            pytest.skip(f"this machine cannot tell now: linkem waited for a CPU, p99 {late_ns / 1e6:.1f} ms")
        raise


def lateness_ns(place: Place) -> int:
    """The 99 % quantile of what every linkem there reports."""
    queues = place.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout.splitlines()
    states = (place.run(["linkem", "--queue", line.split()[0], "--ask", "show"]) for line in queues)
    return max((int(json.loads(state.stdout)["late_p99_ns"]) for state in states if state.status == 0), default=0)


def test_delays_of_an_asymmetric_pair(pair: Pair) -> None:
    with unless_cpus_are_short(pair):
        conformance.test_delay_of_an_asymmetric_pair(pair, "userspace", down_ms=5, up_ms=20)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_jitter(pair: Pair, distribution: Distribution) -> None:
    with unless_cpus_are_short(pair):
        conformance.test_jitter_has_the_declared_distribution(pair, "userspace", distribution)


def test_random_loss(pair: Pair) -> None:
    with unless_cpus_are_short(pair):
        conformance.test_random_loss(pair, "userspace", 1)


def test_bursts_of_losses(pair: Pair) -> None:
    with unless_cpus_are_short(pair):
        conformance.test_bursts_of_losses_are_as_long_as_declared(pair, "userspace")


def test_duplicates_reordering_and_corruption(pair: Pair) -> None:
    with unless_cpus_are_short(pair):
        conformance.test_duplicates_reordering_and_corruption(pair, "userspace")


@pytest.mark.parametrize("backend", ["tbf", "userspace"])
def test_different_rates_each_way(pair: Pair, backend: str) -> None:
    with unless_cpus_are_short(pair):
        conformance.test_different_rates_each_way(pair, backend)
