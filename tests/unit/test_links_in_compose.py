"""Links as compose.yaml declares them: read per network and direction, and refused with their path."""

from __future__ import annotations

import pytest

from testbed.errors import InputError
from testbed.model.shape import LinkShape, Shape
from testbed.model.shape_profiles import PROFILES
from testbed.topology.compose import parse_compose

FILE = """
services:
  server:
    image: testbed/server
    networks: [net0, net1]
    x-testbed:
      role: server
      links: {LINKS}
networks: {net0: {}, net1: {}}
"""


def links(text: str) -> dict[str, LinkShape]:
    return parse_compose(FILE.replace("{LINKS}", text), "compose.yaml").node("server").links


def test_each_network_has_its_own() -> None:
    found = links("{net0: dsl, net1: {delay: 20ms, up: {loss: 1%}}}")
    assert found == {
        "net0": PROFILES["dsl"].shape,
        "net1": LinkShape(down=Shape(delay_us=20_000), up=Shape(delay_us=20_000, loss_percent=1)),
    }


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("{net0: {delay: -1ms}}", "net0: delay", "-1ms is out of range: from 0us to 60s"),
        ("{net0: {loss: 101%}}", "net0: loss", "from 0% to 100%"),
        ("{net0: {rate: 100mbps}}", "net0: rate", "write 100mbit"),
        ("{net0: {up: {delay: 1ms, jitter: 2ms}}}", "net0: up", "jitter 2ms is larger than delay 1ms"),
        ("{net0: pigeon}", "net0: profile", "unknown profile 'pigeon': one of lan"),
        ("{net0: {delay: 20}}", "net0: delay", "has no unit"),
        ("{net0: {gemodel: 60% 150%}}", "net0: gemodel.r", "150% is out of range: from 0% to 100%"),
        ("{net0: {gemodel: 1% 25% 120%}}", "net0: gemodel.1-h", "120% is out of range: from 0% to 100%"),
        ("{net0: {gemodel: {p: -1%, r: 5%}}}", "net0: gemodel.p", "-1% is out of range: from 0% to 100%"),
        ("{net0: {gemodel: 0% 25%}}", "net0: gemodel", "p is 0%: the link would never lose"),
        ("{net0: {gemodel: 1% 25% 10% 20%}}", "net0: gemodel", "1-h must be above 1-k"),
        ("{net7: dsl}", "net7", "server is on net0, net1 only"),
    ],
)
def test_bad_links_are_refused_with_file_and_path(text: str, place: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        links(text)
    assert caught.value.where == f"compose.yaml: services.server.x-testbed.links.{place}"
    assert what in caught.value.what
