"""userspace in a scripted world: whose packets its rules take, which queue numbers, and what looking leaves alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed.engine.lab import Lab
from testbed.errors import RuntimeFault
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.lab_links import LabLinks
from testbed.model.shape import Shape
from tests.unit.link_world import LinkWorld

DELAYED = Shape(delay_us=5_000)
USERSPACE = BACKENDS.get("userspace")


@pytest.fixture
def world() -> LinkWorld:
    return LinkWorld()


@pytest.fixture
def lab(world: LinkWorld) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


@pytest.fixture
def client(lab: Lab) -> Endpoint:
    return LabLinks(lab.runtime, lab.placed).endpoint("client1", "net0")


def sources(world: LinkWorld) -> set[tuple[str, str]]:
    """Sidecar and source of every rule."""
    return {(rule[0], rule[rule.index("-s") + 1] if "-s" in rule else "all") for rule in world.rules}


def test_up_takes_what_the_node_sends_and_what_its_emulated_hosts_send(
    world: LinkWorld, lab: Lab, client: Endpoint
) -> None:
    node = lab.placed.node("client1")
    USERSPACE.apply(client, "up", DELAYED)
    own = {f"{node.addresses['net0']}/32", str(node.emulated_prefix)}
    assert {source for sidecar, source in sources(world) if sidecar == "server-link"} == own
    assert USERSPACE.read_back(client, "up") == DELAYED
    USERSPACE.remove(client, "up")
    assert not world.rules
    assert not world.emulators


def test_one_of_the_rules_gone_is_seen(world: LinkWorld, client: Endpoint) -> None:
    USERSPACE.apply(client, "up", DELAYED)
    world.rules -= {rule for rule in world.rules if rule[0] == "server-link" and client.emulated_prefix in rule}
    with pytest.raises(RuntimeFault, match="client1/net0/up: the iptables rule is gone"):
        USERSPACE.read_back(client, "up")
    USERSPACE.apply(client, "up", DELAYED)
    assert USERSPACE.read_back(client, "up") == DELAYED


def test_another_link_s_queue_is_left_alone_and_the_next_one_taken(world: LinkWorld, client: Endpoint) -> None:
    USERSPACE.apply(client, "down", DELAYED)
    ((key, told),) = world.emulators.items()
    world.emulators[key] = stranger = told | {"label": "somebody/else/down"}
    world.rules.clear()
    assert USERSPACE.read_back(client, "down") is None, "what a stranger does is not ours"
    USERSPACE.remove(client, "down")
    assert world.emulators == {key: stranger}
    USERSPACE.apply(client, "down", Shape(delay_us=7_000))
    assert {int(queue) - int(key[1]) for _, queue in world.emulators} == {0, 1}
    assert world.emulators[key] == stranger
    assert USERSPACE.read_back(client, "down") == Shape(delay_us=7_000)
    del world.emulators[key]  # ours is found again also when the stranger has gone
    assert USERSPACE.read_back(client, "down") == Shape(delay_us=7_000)
    USERSPACE.remove(client, "down")
    assert not world.emulators


def test_looking_makes_no_table(world: LinkWorld, client: Endpoint) -> None:
    for direction in ("down", "up"):
        assert USERSPACE.read_back(client, direction) is None
        USERSPACE.remove(client, direction)
    assert world.tables == set()
    assert USERSPACE.lack(client, "down") is None
    assert world.tables == {"mangle"}, "that of the direction and no other"
