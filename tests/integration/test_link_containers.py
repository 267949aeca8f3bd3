"""The link backends on two containers of a lab, through their sidecars: what conformance asks of bare namespaces.

A part of that suite, for every command in a container takes its time: each kind of shape once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.link.choose import reset
from testbed.runtime.base import Runtime
from tests.integration import test_link_conformance as conformance
from tests.integration.link_pair import Pair, pair_of_nodes
from tests.integration.link_requirements import need_link_programs


@pytest.fixture(scope="module")
def world(docker_engine: Runtime) -> Iterator[Pair]:
    need_link_programs()
    with pair_of_nodes(f"linkconf{os.getpid()}", docker_engine) as pair:
        yield pair


@pytest.fixture
def pair(world: Pair) -> Iterator[Pair]:
    yield world
    reset(world.near)


def test_delays_of_an_asymmetric_pair(pair: Pair) -> None:
    conformance.test_delay_of_an_asymmetric_pair(pair, "userspace", down_ms=5, up_ms=20)


def test_jitter(pair: Pair) -> None:
    conformance.test_jitter_has_the_declared_distribution(pair, "userspace", "normal")


def test_bursts_of_losses(pair: Pair) -> None:
    conformance.test_bursts_of_losses_are_as_long_as_declared(pair, "userspace")


def test_duplicates_reordering_and_corruption(pair: Pair) -> None:
    conformance.test_duplicates_reordering_and_corruption(pair, "userspace")


@pytest.mark.parametrize("backend", ["tbf", "userspace"])
def test_different_rates_each_way(pair: Pair, backend: str) -> None:
    conformance.test_different_rates_each_way(pair, backend)
