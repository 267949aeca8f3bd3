"""Quantities as users write them, read once at the edge: "20ms", "1%", "1.5gbit", "64kib".

Exact arithmetic (Decimal) and one table a kind. A number without its unit, and a unit that people read in two ways
("mbps" is bytes to tc and bits to everybody else), are refused with what to write instead. Inside the testbed there is
one unit a kind, and it stands in the name: ``delay_us``, ``rate_bps``, ``loss_percent``, ``burst_bytes``.
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*([^\s\d.][^\s]*)?")
_LONGEST = 40
"""Characters of a quantity: a longer one is not a quantity, and Decimal need not look at it."""

_MICROSECONDS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "min": Decimal(60_000_000),
}
_BITS_PER_SECOND = {
    "bit": Decimal(1),
    "kbit": Decimal(10**3),
    "mbit": Decimal(10**6),
    "gbit": Decimal(10**9),
    "tbit": Decimal(10**12),
}
_BYTES = {"b": Decimal(1), "kib": Decimal(2**10), "mib": Decimal(2**20), "gib": Decimal(2**30)}

_BYTE_RATES = {"bps": "bit", "kbps": "kbit", "mbps": "mbit", "gbps": "gbit", "tbps": "tbit"}
_SHORT_RATES = {"b": "bit", "kb": "kbit", "mb": "mbit", "gb": "gbit", "k": "kbit", "m": "mbit", "g": "gbit"}
_TWO_KILOS = {"kb": ("kib", 1_000), "mb": ("mib", 10**6), "gb": ("gib", 10**9)}


def parse_duration_us(text: object) -> int:
    """Microseconds. Raises ValueError that says what is allowed, also for parts of a microsecond."""
    number, unit = _split(text, "a duration", "20ms", list(_MICROSECONDS))
    if unit not in _MICROSECONDS:
        raise ValueError(f"{text!r}: unknown unit {unit!r}: one of {', '.join(_MICROSECONDS)}")
    return _whole(text, number * _MICROSECONDS[unit], "microseconds")


def parse_rate_bps(text: object) -> int:
    """Bits a second. Raises ValueError; a unit that may mean bytes is refused with both ways to write it."""
    number, unit = _split(text, "a rate", "10mbit", list(_BITS_PER_SECOND))
    unit = unit.lower()
    if unit in _BYTE_RATES:
        bits = _BYTE_RATES[unit]
        raise ValueError(
            f"{text!r} is ambiguous (bits to most people, bytes to tc): "
            f"write {_plain(number)}{bits} for bits a second, or {_plain(number * 8)}{bits} for bytes"
        )
    if unit in _SHORT_RATES:
        bits = _SHORT_RATES[unit]
        raise ValueError(f"{text!r} is ambiguous (bits or bytes): write {_plain(number)}{bits} for bits a second")
    if unit not in _BITS_PER_SECOND:
        raise ValueError(f"{text!r}: unknown unit {unit!r}: one of {', '.join(_BITS_PER_SECOND)}")
    return _whole(text, number * _BITS_PER_SECOND[unit], "bits a second")


def parse_percent(text: object) -> float:
    """Per cent. Raises ValueError; a bare number is refused, for it might be a fraction."""
    number, unit = _split(text, "a share", "1%", ["%"])
    if unit != "%":
        raise ValueError(f"{text!r}: a share is written in per cent, like 1%")
    return float(number)


def parse_size_bytes(text: object) -> int:
    """Bytes. Raises ValueError; "kb" is refused, for it is 1,000 to some and 1,024 to others."""
    number, unit = _split(text, "a size", "64kib", list(_BYTES))
    unit = unit.lower()
    if unit in _TWO_KILOS:
        binary, factor = _TWO_KILOS[unit]
        raise ValueError(
            f"{text!r} is ambiguous (powers of 1000 or of 1024): "
            f"write {_plain(number)}{binary}, or {_plain(number * factor)}b"
        )
    if unit not in _BYTES:
        raise ValueError(f"{text!r}: unknown unit {unit!r}: one of {', '.join(_BYTES)}")
    return _whole(text, number * _BYTES[unit], "bytes")


def format_duration_us(microseconds: float) -> str:
    """The shortest text that ``parse_duration_us`` reads as the same value (for whole microseconds)."""
    return _shortest(microseconds, _MICROSECONDS, ("s", "ms", "us"))


def format_rate_bps(bits_per_second: float) -> str:
    """The shortest text that ``parse_rate_bps`` reads as the same value (for whole bits a second)."""
    return _shortest(bits_per_second, _BITS_PER_SECOND, ("gbit", "mbit", "kbit", "bit"))


def format_size_bytes(size: float) -> str:
    """The shortest text that ``parse_size_bytes`` reads as the same value (for whole bytes)."""
    return _shortest(size, _BYTES, ("mib", "kib", "b"))


def format_percent(percent: float) -> str:
    """Per cent with at most six digits behind the point, none of them a trailing zero."""
    return f"{_plain(Decimal(str(round(percent, 6))))}%"


def _split(text: object, kind: str, example: str, units: list[str]) -> tuple[Decimal, str]:
    """The number and the unit of a quantity."""
    if isinstance(text, bool) or not isinstance(text, str | int | float | Decimal):
        raise ValueError(f"{text!r} is not {kind}: write it like {example}")
    written = str(text).strip()
    match = _QUANTITY.fullmatch(written) if len(written) <= _LONGEST else None
    if match is None:
        raise ValueError(f"{written[:_LONGEST]!r} is not {kind}: write a number and one of {', '.join(units)}")
    if match[2] is None:
        if Decimal(match[1]) == 0:
            return Decimal(0), units[0]
        raise ValueError(f"{written!r} has no unit: write {kind} like {example} (one of {', '.join(units)})")
    return Decimal(match[1]), match[2]


def _whole(text: object, value: Decimal, unit: str) -> int:
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is {_plain(value)} {unit}: whole {unit} only")
    return int(value)


def _plain(value: Decimal) -> str:
    """Decimal text without an exponent and without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shortest(value: float, table: dict[str, Decimal], units: tuple[str, ...]) -> str:
    """In the first unit that is no larger than the value and needs at most three digits behind the point."""
    exact = Decimal(str(value))
    for unit in units:
        scaled = exact / table[unit]
        if abs(scaled) >= 1 and scaled == round(scaled, 3):
            return f"{_plain(scaled)}{unit}"
    return f"{_plain(exact / table[units[-1]])}{units[-1]}"
