"""Shapes: what is read, and that bad input is refused with its place and with what is allowed."""

from __future__ import annotations

import pytest

from testbed.errors import InputError
from testbed.model.shape import GilbertElliott, LinkShape, Shape
from testbed.model.shape_profiles import PROFILES
from testbed.model.shape_text import parse_link, parse_shape

WHERE = "compose.yaml: services.client1.x-testbed.shape.net0"


def test_a_shape_in_words_becomes_numbers() -> None:
    words = {
        "delay": "40ms",
        "jitter": "10ms",
        "distribution": "normal",
        "correlation": "25%",
        "gemodel": "1% 25%",
        "duplicate": "0.1%",
        "reorder": "2%",
        "corrupt": "0.01%",
        "rate": "1.5gbit",
        "burst": "64kib",
        "limit": 100,
        "seed": 7,
    }
    assert parse_shape(WHERE, words) == Shape(
        delay_us=40_000,
        jitter_us=10_000,
        distribution="normal",
        correlation_percent=25,
        gemodel=GilbertElliott(p_percent=1, r_percent=25),
        duplicate_percent=0.1,
        reorder_percent=2,
        corrupt_percent=0.01,
        rate_bps=1_500_000_000,
        burst_bytes=65_536,
        limit_pkts=100,
        seed=7,
    )


def test_one_line_of_a_shape_says_it_in_the_words_that_are_read() -> None:
    shape = parse_shape(WHERE, {"delay": "40ms", "jitter": "10ms", "distribution": "pareto", "loss": "1%"})
    assert shape.text() == "delay 40ms, jitter 10ms pareto, loss 1%"
    assert Shape().text() == "unshaped"


def test_words_without_a_direction_are_for_each() -> None:
    link = parse_link(WHERE, {"delay": "20ms"})
    assert link == LinkShape(down=Shape(delay_us=20_000), up=Shape(delay_us=20_000))


def test_each_direction_for_itself() -> None:
    link = parse_link(WHERE, {"delay": "5ms", "down": {"rate": "50mbit"}, "up": {"rate": "10mbit", "delay": "8ms"}})
    assert link.down == Shape(delay_us=5_000, rate_bps=50_000_000)
    assert link.up == Shape(delay_us=8_000, rate_bps=10_000_000)


def test_a_profile_can_be_changed_in_part() -> None:
    link = parse_link(WHERE, {"profile": "dsl", "loss": "1%"})
    assert link.down == PROFILES["dsl"].shape.down.model_copy(update={"loss_percent": 1.0})
    assert parse_link(WHERE, "dsl") == PROFILES["dsl"].shape


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_shapes_both_directions_and_names_its_source(name: str) -> None:
    profile = PROFILES[name]
    assert profile.shape.down.touches
    assert profile.shape.up.touches
    assert len(profile.source) > 20


@pytest.mark.parametrize(
    ("words", "place", "what"),
    [
        ({"delay": "-1ms"}, "delay", "-1ms is out of range: from 0us to 60s"),
        ({"loss": "101%"}, "loss", "101% is out of range: from 0% to 100%"),
        ({"loss": "-0.5%"}, "loss", "out of range"),
        ({"loss": "0.1234567%"}, "loss", "0.1234567%: at most 6 decimals are allowed"),
        ({"delay": "10ms", "jitter": "11ms"}, "", "jitter 11ms is larger than delay 10ms"),
        ({"rate": "100mbps"}, "rate", "write 100mbit for bits a second, or 800mbit for bytes"),
        ({"rate": "1bit"}, "rate", "from 8kbit to 100gbit"),
        ({"gemodel": "0% 25%"}, "gemodel", "p is 0%"),
        ({"gemodel": "1% 0%"}, "gemodel", "never leave the bad state"),
        ({"gemodel": "101% 25%"}, "gemodel.p", "from 0% to 100%"),
        ({"gemodel": "1% 25% 10% 20%"}, "gemodel", "1-h must be above 1-k"),
        ({"gemodel": "1%"}, "gemodel", "p r [1-h [1-k]]"),
        ({"gemodel": {"p": "1%", "q": "1%"}}, "gemodel", "unknown 'q'"),
        ({"gemodel": {"p": "1%"}}, "gemodel.r", "Field required"),
        ({"gemodel": "1% 25%", "loss": "1%"}, "", "loss and gemodel: one of the two"),
        ({"correlation": "25%"}, "", "correlation needs a jitter"),
        ({"distribution": "normal"}, "", "distribution needs a jitter"),
        ({"reorder": "1%"}, "", "reorder needs a delay"),
        ({"limit": 10}, "", "limit needs a rate"),
        ({"limit": "ten", "rate": "1mbit"}, "limit", "'ten' is not a whole number"),
        (
            {"delay": "5ms", "jitter": "1ms", "distribution": "cauchy"},
            "distribution",
            "'uniform', 'normal' or 'pareto'",
        ),
        ({"latency": "5ms"}, "latency", "unknown word of a shape: one of delay, jitter"),
        ({"profile": "carrier-pigeon"}, "profile", "unknown profile 'carrier-pigeon': one of lan, fiber, cable"),
        ({"down": {"delay": "-1ms"}}, "down: delay", "out of range"),
        ({"down": 5}, "down", "is not a mapping"),
        (["delay"], "", "is not a profile's name, nor a mapping"),
    ],
)
def test_bad_input_names_its_place_and_what_is_allowed(words: object, place: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_link(WHERE, words)
    assert caught.value.where == (f"{WHERE}: {place}" if place else WHERE)
    assert what in caught.value.what


def test_the_long_run_of_a_gilbert_elliott_link() -> None:
    model = GilbertElliott(p_percent=1, r_percent=24, bad_loss_percent=50, good_loss_percent=1)
    assert model.mean_loss_percent == pytest.approx(0.04 * 50 + 0.96 * 1)
    assert Shape(gemodel=model).mean_loss_percent == model.mean_loss_percent


def test_a_seed_alone_touches_nothing() -> None:
    assert not Shape(seed=3).touches
    assert Shape(rate_bps=10**6).touches


def test_a_shape_survives_being_stored() -> None:
    link = PROFILES["satellite-leo"].shape
    assert LinkShape.model_validate_json(link.model_dump_json()) == link


def test_the_default_limit_is_no_limit_that_was_chosen() -> None:
    assert Shape(rate_bps=10**6, limit_pkts=1000) == Shape(rate_bps=10**6)
    assert Shape(rate_bps=10**6, limit_pkts=999).limit_pkts == 999
