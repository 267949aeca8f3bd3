"""Access links: what kinds of link the emulated hosts have, and what share of them has which.

Each host gets one for itself, inside the packet engine: 10,000 hosts can have 10,000 different links.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from testbed.errors import InputError
from testbed.model.shape import LinkShape
from testbed.model.shape_profiles import PROFILES
from testbed.model.shape_text import parse_link_text
from testbed.model.value import Value
from testbed.units import format_percent

_SUM_TOLERANCE = 1e-9


class AccessLink(Value):
    """A kind of link (``name``: as it was written) and the share (0 to 1) of the hosts that have it."""

    name: str
    share: float = Field(gt=0, le=1)
    shape: LinkShape


def parse_access(data: Any) -> Any:
    """``{"dsl": 0.6, "delay 40ms, loss 1%": 0.4}``: profiles or words of a shape, each with its share of the hosts.

    What is no mapping is returned as it is. Raises ValueError that names the entry and says what is allowed.
    """
    if not isinstance(data, Mapping):
        return data
    links = []
    for name, share in data.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ValueError(f"{name!r}: {share!r} is no share: a number above 0, at most 1")
        links.append(AccessLink(name=str(name), share=share, shape=_shape_of(str(name))))
    return tuple(links)


def check_access(links: tuple[AccessLink, ...]) -> tuple[AccessLink, ...]:
    """Raises ValueError when the shares do not sum to 1 or a kind stands twice."""
    total = math.fsum(link.share for link in links)
    if links and abs(total - 1) > _SUM_TOLERANCE:
        raise ValueError(f"the shares sum to {total:g}: they must sum to 1")
    names = [link.name for link in links]
    if len(set(names)) != len(names):
        raise ValueError("a kind of link stands twice")
    return links


def access_text(links: tuple[AccessLink, ...]) -> str:
    """In one line: "60% dsl, 40% 4g"; a single kind by its name alone; empty without links."""
    if len(links) == 1:
        return links[0].name
    return ", ".join(f"{format_percent(100 * link.share)} {link.name}" for link in links)


def _shape_of(name: str) -> LinkShape:
    if " " not in name.strip() and name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}: one of {', '.join(PROFILES)}, or words like 'delay 40ms, loss 1%'")
    try:
        return parse_link_text(repr(name), name)
    except InputError as error:
        raise ValueError(str(error)) from None
