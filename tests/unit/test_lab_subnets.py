"""Subnets of a lab that others take first: it is planned again, and never forever."""

from __future__ import annotations

import pytest

from testbed.engine.lab import Lab
from testbed.errors import UsageError
from testbed.model.placed import PlacedNetwork
from testbed.runtime.fake import FakeRuntime


class Racing(FakeRuntime):
    """Another lab takes the planned subnet between the plan and the making, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        if self.times:
            self.times -= 1
            self.taken[network.subnet] = "docker network other"
        super().create_network(lab, network)


def test_a_lost_race_for_a_subnet_is_planned_again() -> None:
    racing = Racing(times=3)
    with Lab(runtime=racing) as lab:
        assert {network.subnet for network in lab.placed.networks}.isdisjoint(racing.taken)


class Unlisted(FakeRuntime):
    """An engine that refuses a subnet and lists nobody who has it: of a network that is just being made, or removed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def create_network(self, lab: str, network: PlacedNetwork) -> None:
        self.first = self.first or network.subnet
        if network.subnet == self.first:
            raise UsageError(f"network {network.name!r} with subnet {network.subnet}: Pool overlaps with other one")
        super().create_network(lab, network)


def test_a_subnet_that_is_refused_is_not_planned_again() -> None:
    runtime = Unlisted()
    with Lab(runtime=runtime) as lab:
        assert runtime.first not in {network.subnet for network in lab.placed.networks}


def test_a_race_that_is_always_lost_ends() -> None:
    racing = Racing(times=1000)
    with pytest.raises(UsageError, match="is in use"):
        Lab(runtime=racing).up()
    assert racing.made() == []
