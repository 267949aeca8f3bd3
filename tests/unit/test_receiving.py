"""Receiving is steered to the CPUs of who receives, and the switch's work away from the servers'."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from testbed.errors import RuntimeFault
from testbed.link import firewall
from testbed.model.placed import PlacedTopology
from testbed.runtime import receiving
from testbed.runtime.base import Paths
from testbed.runtime.receiving import Ends, steered
from testbed.topology.default import default_topology
from testbed.topology.plan import place

SWITCH = Ends("/switch", ["p1", "p2"])


def world(cpus: Sequence[int]) -> tuple[PlacedTopology, dict[str, Ends]]:
    placed = place(default_topology(), "lab", {}, cpus)
    return placed, {name: Ends(f"/{name}", ["eth0"]) for name in ("server", "client1")}


def test_each_pays_on_its_own_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, list[str], tuple[int, ...]]] = []
    monkeypatch.setattr(receiving, "steer", lambda where, which, cpus: calls.append((where, list(which), tuple(cpus))))
    left: list[tuple[str, ...]] = []
    monkeypatch.setattr(firewall, "ignore", lambda *asked: left.append(asked))
    placed, ends = world([0, 1, 2])
    assert steered(placed, ends, SWITCH) == Paths(True, True, "")
    assert left == [("/client1", placed.node("client1").emulated_prefix)]
    assert calls == [
        ("/server", ["eth0"], (2,)),
        ("/client1", ["eth0"], (0, 1)),
        ("/switch", ["p1", "p2"], (0, 1)),
    ]


def test_a_kernel_that_goes_on_reading_for_emulated_hosts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "steer", lambda *_: None)
    monkeypatch.setattr(firewall, "ignore", lambda *_: "iptables is not installed")
    told = "client1's kernel reads what is for its emulated hosts: iptables is not installed"
    assert steered(*world([0, 1, 2]), SWITCH) == Paths(True, True, told)


def test_without_cpus_of_their_own_nobody_is_steered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "steer", None)
    assert steered(*world([0]), SWITCH) == Paths(True, False, "not steered: no CPUs of their own for server, client1")


def test_a_kernel_that_refuses_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeFault("receive steering of eth0 cannot be set")

    monkeypatch.setattr(receiving, "steer", refuse)
    assert steered(*world([0, 1]), SWITCH) == Paths(True, False, "receive steering of eth0 cannot be set")
