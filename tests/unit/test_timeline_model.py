"""A timeline as written: what it means, and every way in which it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed.engine.scenario_file import changed, load_scenario
from testbed.errors import InputError
from testbed.model.shape import LinkShape, Shape
from testbed.model.shape_profiles import PROFILES
from testbed.model.timeline import at
from tests.unit.records import SCENARIO

HEAD = """from testbed import OneByte, Profile, Scenario, at, mechanisms
def scenario(*timeline):
    return Scenario(name="s", title="t", sentence="x", servers=mechanisms("select"), workload=OneByte(),
                    timeline=timeline, profiles={"brief": Profile(rates_per_s=(5,), warm_up_s=1, window_s=4)})
"""
DECLARED = LinkShape(up=Shape(delay_us=7))


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ("loss 2%", LinkShape(down=Shape(loss_percent=2), up=Shape(loss_percent=2))),
        ("down: loss 2%", LinkShape(down=Shape(loss_percent=2))),
        ("delay 20ms, jitter 5ms", LinkShape(**dict.fromkeys(("down", "up"), Shape(delay_us=20000, jitter_us=5000)))),
        ("down: unshaped; up: rate 10mbit, limit 5", LinkShape(up=Shape(rate_bps=10**7, limit_pkts=5))),
        ({"down": {"loss": "2%"}}, LinkShape(down=Shape(loss_percent=2))),
        ("dsl", PROFILES["dsl"].shape),
        ("unshaped", LinkShape()),
        ("declared", DECLARED),
    ],
)
def test_shapes_are_read_as_they_are_everywhere(change: str | dict[str, Any], shape: LinkShape) -> None:
    assert at(1, "server/net0", change).shape(DECLARED) == shape


@pytest.mark.parametrize("profile", PROFILES)
def test_a_shape_s_own_text_reads_back(profile: str) -> None:
    shape = PROFILES[profile].shape
    if "jitter" not in shape.text():  # the text has the distribution behind the jitter
        assert at(1, "server/net0", shape.text().removeprefix("each way: ")).shape(DECLARED) == shape


def test_a_link_is_a_node_s_or_a_whole_network() -> None:
    assert (at(1, "server/net0", "down").node, at(1, "server/net0", "down").network) == ("server", "net0")
    assert (at(1, "net0", "up").node, at(1, "net0", "up").network) == (None, "net0")
    assert [at(1, "net0", change).state for change in ("down", "up", "dsl")] == ["down", "up", None]


@pytest.mark.parametrize(
    ("timeline", "message"),
    [
        ('at(-1, "net0", "down")', "greater than or equal to 0, not -1"),
        ('at(float("nan"), "net0", "down")', "finite number"),
        ('at(1, "net 0", "down")', "'net 0' is no link: node/network like server/net0, or a network like net0"),
        ('at(1, "a/b/c", "down")', "'a/b/c' is no link"),
        ('at(1, "server/net0", "sideways")', "'sideways' is no change (down, up, declared, or a shape)"),
        ('at(1, "server/net0", "loss 101%")', "loss: 101% is out of range: from 0% to 100%"),
        ('at(1, "server/net0", "rate 100mbps")', "write 100mbit for bits a second"),
        ('at(1, "server/net0", "delay 1ms, jitter 2ms")', "jitter 2ms is larger than delay 1ms"),
        ('at(1, "server/net0", "loss 1%, loss 2%")', "each word once"),
        ('at(1, "server/net0", "down: loss 1%; delay 2ms")', "cannot be read at 'delay 2ms'"),
        ('at(1, "server/net0", {"colour": 1})', "colour: unknown word of a shape"),
        ('at(5.1, "net0", "down")', "`5.1 s: net0 down` comes after the load, which ends at 5 s in profile brief"),
        ('at(1, "net0", "down"), at(1, "net0", "up")', "net0 is changed twice at 1 s"),
        ('at(1, "net0", "loss 1%")', "a whole network goes down or up; a shape is for a node's link, like server/net0"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_place(tmp_path: Path, timeline: str, message: str) -> None:
    path = tmp_path / "s.py"
    path.write_text(f"{HEAD}SCENARIO = scenario({timeline})\n")
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_a_timeline_can_be_set_on_the_command_line() -> None:
    settings = ["window_s=5", "timeline=[{at_s: 2, link: net1, change: down}, {at_s: 3, link: net1, change: up}]"]
    only_quick = SCENARIO.model_copy(update={"profiles": {"quick": SCENARIO.profiles["quick"]}})
    assert changed(only_quick, settings, "quick").timeline == (at(2, "net1", "down"), at(3, "net1", "up"))
    with pytest.raises(InputError, match=r"comes after the load, which ends at 1\.3 s in profile quick"):
        changed(only_quick, settings[1:], "quick")
