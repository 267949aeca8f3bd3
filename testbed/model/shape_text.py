"""Shapes as users write them, in files and on the command line, read into numbers.

{delay: 20ms, loss: 1%}                                  each direction
{profile: dsl, loss: 1%}                                 a published profile, one thing changed
{down: {rate: 50mbit}, up: {rate: 10mbit, delay: 5ms}}   each direction for itself
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from testbed.errors import InputError
from testbed.model.shape import DIRECTIONS, GilbertElliott, LinkShape, Shape
from testbed.model.shape_profiles import PROFILES
from testbed.model.value import first_problem
from testbed.units import parse_duration_us, parse_percent, parse_rate_bps, parse_size_bytes

_GEMODEL = ("p", "r", "1-h", "1-k")
_GEMODEL_FIELDS = dict(zip(_GEMODEL, ("p_percent", "r_percent", "bad_loss_percent", "good_loss_percent"), strict=True))


def _count(value: object) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.lstrip("-").isdecimal() or len(text) > 20:
        raise ValueError(f"{value!r} is not a whole number")
    return int(text)


def _name(value: object) -> object:
    return value


def _gemodel(value: object) -> dict[str, float]:
    """ "p r [1-h [1-k]]" as text, or a mapping with those names."""
    if isinstance(value, str):
        words = value.split()
        if not 2 <= len(words) <= len(_GEMODEL):
            raise ValueError(f"{value!r}: two to four shares, p r [1-h [1-k]], like '1% 25%'")
        value = dict(zip(_GEMODEL, words, strict=False))
    if not isinstance(value, Mapping):
        raise ValueError("two to four shares, p r [1-h [1-k]], like '1% 25%'")
    unknown = [str(key) for key in value if key not in _GEMODEL]
    if unknown:
        raise ValueError(f"unknown {unknown[0]!r}: p, r, 1-h and 1-k are allowed")
    return {_GEMODEL_FIELDS[key]: parse_percent(share) for key, share in value.items()}


_KEYS: dict[str, tuple[str, Callable[[object], object]]] = {
    "delay": ("delay_us", parse_duration_us),
    "jitter": ("jitter_us", parse_duration_us),
    "distribution": ("distribution", _name),
    "correlation": ("correlation_percent", parse_percent),
    "loss": ("loss_percent", parse_percent),
    "gemodel": ("gemodel", _gemodel),
    "duplicate": ("duplicate_percent", parse_percent),
    "reorder": ("reorder_percent", parse_percent),
    "corrupt": ("corrupt_percent", parse_percent),
    "rate": ("rate_bps", parse_rate_bps),
    "burst": ("burst_bytes", parse_size_bytes),
    "limit": ("limit_pkts", _count),
    "seed": ("seed", _count),
}
"""What users write: its field in Shape, and what reads it."""

_WRITTEN = {field: key for key, (field, _) in _KEYS.items()} | {field: key for key, field in _GEMODEL_FIELDS.items()}
"""A field's word."""

KEYS = tuple(_KEYS)
"""The words of a shape, as files and the command line have them."""


def parse_shape(where: str, data: Any, base: Shape | None = None) -> Shape:
    """One direction, over ``base``. Raises InputError that names ``where``, the word, and what is allowed."""
    if not isinstance(data, Mapping):
        raise InputError(where, f"is not a mapping of {', '.join(_KEYS)}")
    fields: dict[str, object] = {}
    for key, value in data.items():
        if key not in _KEYS:
            raise InputError(f"{where}: {key}", f"unknown word of a shape: one of {', '.join(_KEYS)}")
        field, read = _KEYS[key]
        try:
            fields[field] = read(value)
        except ValueError as error:
            raise InputError(f"{where}: {key}", str(error)) from None
    return _checked(where, (base or Shape()).model_dump() | _one_loss(fields))


def parse_link(where: str, data: Any) -> LinkShape:
    """Both directions. ``where`` names the file and the path in it. Raises InputError as ``parse_shape`` does."""
    if isinstance(data, str):
        data = {"profile": data}
    if not isinstance(data, Mapping):
        raise InputError(where, f"is not a profile's name, nor a mapping of {', '.join((*DIRECTIONS, *_KEYS))}")
    base = _profile(where, data["profile"]) if "profile" in data else LinkShape()
    rest = {key: value for key, value in data.items() if key not in ("profile", *DIRECTIONS)}
    both = {direction: parse_shape(where, rest, base.toward(direction)) for direction in DIRECTIONS}
    for direction in DIRECTIONS:
        if direction in data:
            both[direction] = parse_shape(f"{where}: {direction}", data[direction], both[direction])
    return LinkShape(**both)


def parse_link_text(where: str, text: str) -> LinkShape:
    """Both directions from one line: a profile's name, "delay 20ms, loss 1%", or "down: loss 2%; up: unshaped".

    A direction that is not named is unshaped. Raises InputError as ``parse_shape`` does.
    """
    if text.strip() in PROFILES:
        return PROFILES[text.strip()].shape
    sides: dict[str, dict[str, str]] = {}
    for part in text.split(";"):
        side, colon, words = part.partition(":")
        side = side.strip() if colon else ""
        if side not in ("", *DIRECTIONS) or side in sides or (sides and "" in (side, *sides)):
            raise InputError(where, f"cannot be read at {part.strip()!r}: words, or `down: words; up: words`")
        sides[side] = _words(where, words if colon else part)
    return parse_link(where, sides.pop("", {}) | sides)


def _words(where: str, text: str) -> dict[str, str]:
    """ "delay 20ms, loss 1%" as a mapping; "unshaped" as an empty one."""
    if text.strip() == "unshaped":
        return {}
    found: dict[str, str] = {}
    for word in text.split(","):
        key, _, value = word.strip().partition(" ")
        if not value or key in found:
            raise InputError(
                where, f"cannot be read at {word.strip()!r}: each word once, with its value: {', '.join(_KEYS)}"
            )
        found[key] = value.strip()
    return found


def _profile(where: str, name: object) -> LinkShape:
    if not isinstance(name, str) or name not in PROFILES:
        raise InputError(f"{where}: profile", f"unknown profile {name!r}: one of {', '.join(PROFILES)}")
    return PROFILES[name].shape


def _one_loss(fields: dict[str, object]) -> dict[str, object]:
    """One kind of loss written over a base replaces the other kind there; both written are refused by Shape."""
    if "loss_percent" in fields and "gemodel" not in fields:
        return {**fields, "gemodel": None}
    if "gemodel" in fields and "loss_percent" not in fields:
        return {**fields, "loss_percent": 0.0}
    return fields


def _checked(where: str, fields: dict[str, object]) -> Shape:
    try:
        return Shape.model_validate(fields)
    except ValidationError as error:
        place, what = first_problem(where, error)
        within = place.removeprefix(where)
        place = where + re.sub("[a-z_]+", lambda field: _WRITTEN.get(field[0], field[0]), within)
        raise InputError(place, what) from None


__all__ = ["KEYS", "GilbertElliott", "parse_link", "parse_link_text", "parse_shape"]
