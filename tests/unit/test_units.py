"""Quantities: what is read, what is refused and with which advice; text and number go both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.units import (
    format_duration_us,
    format_percent,
    format_rate_bps,
    format_size_bytes,
    parse_duration_us,
    parse_percent,
    parse_rate_bps,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("20ms", 20_000),
        ("1.5s", 1_500_000),
        ("250us", 250),
        ("250 µs", 250),
        ("2min", 120_000_000),
        ("5000ns", 5),
        (".5ms", 500),
        ("-1ms", -1000),
        ("0", 0),
        (0, 0),
    ],
)
def test_durations_are_read_exactly(text: object, microseconds: int) -> None:
    assert parse_duration_us(text) == microseconds


@pytest.mark.parametrize(
    ("text", "bits"),
    [("1.5gbit", 1_500_000_000), ("10mbit", 10_000_000), ("10Mbit", 10_000_000), ("56kbit", 56_000), ("9600bit", 9600)],
)
def test_rates_are_read_exactly(text: str, bits: int) -> None:
    assert parse_rate_bps(text) == bits


def test_a_rate_that_may_mean_bytes_is_refused_with_both_ways_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"'100mbps' is ambiguous.*write 100mbit .* or 800mbit"):
        parse_rate_bps("100mbps")


def test_a_size_of_unclear_kilos_is_refused_with_both_ways_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"'16kb' is ambiguous.*write 16kib, or 16000b"):
        parse_size_bytes("16kb")
    assert parse_size_bytes("16kib") == 16384
    assert parse_size_bytes("1500b") == 1500


@pytest.mark.parametrize("text", ["100Mb", "100m", "100gb"])
def test_short_units_of_rate_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ambiguous"):
        parse_rate_bps(text)


@pytest.mark.parametrize("text", ["20", 20, 1.5, "0.01"])
def test_a_number_without_a_unit_is_refused(text: object) -> None:
    for parse in (parse_duration_us, parse_rate_bps, parse_percent, parse_size_bytes):
        with pytest.raises(ValueError, match="has no unit"):
            parse(text)


@pytest.mark.parametrize("text", ["", "ms", "1 2ms", "nan", "infs", None, True, [], "9" * 60 + "ms"])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    for parse in (parse_duration_us, parse_rate_bps, parse_percent, parse_size_bytes):
        with pytest.raises(ValueError, match="is not a"):
            parse(text)


@pytest.mark.parametrize("text", ["5parsecs", "5%", "1e3ms", "0x10ms"])
def test_an_unknown_unit_names_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match="one of ns, us, µs, ms, s, min"):
        parse_duration_us(text)


def test_parts_of_the_inner_unit_are_refused_not_rounded() -> None:
    with pytest.raises(ValueError, match="whole microseconds only"):
        parse_duration_us("1.5us")
    with pytest.raises(ValueError, match="whole bits a second only"):
        parse_rate_bps("1.5bit")


def test_shares() -> None:
    assert parse_percent("1%") == 1.0
    assert parse_percent("0.1 %") == 0.1
    with pytest.raises(ValueError, match="written in per cent"):
        parse_percent("1ms")


@given(st.integers(0, 10**12))
def test_text_reads_back_as_the_same_number(value: int) -> None:
    assert parse_duration_us(format_duration_us(value)) == value
    assert parse_rate_bps(format_rate_bps(value)) == value


@given(st.integers(0, 10**6))
def test_sizes_read_back_as_the_same_number(value: int) -> None:
    assert parse_size_bytes(format_size_bytes(value * 1024)) == value * 1024


@given(st.integers(0, 10**8))
def test_shares_read_back_as_the_same_number(millionths: int) -> None:
    assert parse_percent(format_percent(millionths / 10**6)) == millionths / 10**6


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    for parse in (parse_duration_us, parse_rate_bps, parse_percent, parse_size_bytes):
        assert _outcome(parse, text)


def _outcome(parse: Callable[[object], float], text: str) -> str:
    """The value or the reason; anything but a ValueError fails the test."""
    try:
        return repr(parse(text))
    except ValueError as error:
        return str(error)
