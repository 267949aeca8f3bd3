"""Links that change while a point's load runs, as a scenario declares them.

timeline=(
    at(10, "server/net0", "down: loss 2%"),   # the link of a node on a network gets another shape
    at(20, "net1", "down"),                   # a network carries nothing …
    at(25, "net1", "up"),                     # … and carries again
)

Times are seconds from the start of the load, its warm-up included. After each point every link is put back.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from testbed.errors import InputError
from testbed.model.shape import LinkShape
from testbed.model.shape_text import parse_link, parse_link_text
from testbed.model.value import Value

State = Literal["down", "up"]

DECLARED = "declared"
"""As a change: the shape that the link had before the load started."""

_NAME = "[a-z][a-z0-9_-]{0,30}"
_LINK = re.compile(f"{_NAME}(/{_NAME})?")
_LATEST_S = 86_400


class LinkChange(Value):
    """One change. ``link`` is "node/network", or a whole "network" (which can go down and up).

    ``change`` is "down" or "up"; "declared", which undoes shapes; or a shape in place of the one that the link has, as
    text ("delay 20ms, loss 1%"; "down: loss 2%; up: rate 10mbit"; a profile's name) or as compose.yaml has it.
    """

    at_s: float = Field(ge=0, le=_LATEST_S, allow_inf_nan=False)
    link: str
    change: str | dict[str, Any]

    @field_validator("link")
    @classmethod
    def _named(cls, link: str) -> str:
        if not _LINK.fullmatch(link):
            raise ValueError(f"{link!r} is no link: node/network like server/net0, or a network like net0")
        return link

    @field_validator("change")
    @classmethod
    def _possible(cls, change: str | dict[str, Any]) -> str | dict[str, Any]:
        if change not in ("down", "up", DECLARED):
            try:
                _parsed(change)
            except InputError as error:
                what = str(error).removeprefix("change: ")
                raise ValueError(f"{change!r} is no change (down, up, {DECLARED}, or a shape): {what}") from None
        return change

    @property
    def node(self) -> str | None:
        """The node, None for a whole network."""
        node, slash, _ = self.link.partition("/")
        return node if slash else None

    @property
    def network(self) -> str:
        """The network."""
        return self.link.rpartition("/")[2]

    @property
    def state(self) -> State | None:
        """Down or up; None for a change of shape."""
        if self.change == "down":
            return "down"
        return "up" if self.change == "up" else None

    def shape(self, declared: LinkShape) -> LinkShape:
        """What the link is told to be, for a change of shape; ``declared`` is what it was before the load."""
        return declared if self.change == DECLARED else _parsed(self.change)

    def text(self) -> str:
        """In one line."""
        what = self.change if isinstance(self.change, str) else _parsed(self.change).text()
        return f"{self.at_s:g} s: {self.link} {what}"


def at(at_s: float, link: str, change: str | dict[str, Any]) -> LinkChange:
    """A change, as scenario files write it: ``at(20, "server/net1", "down")``. Raises ValidationError."""
    return LinkChange(at_s=at_s, link=link, change=change)


def check_timeline(timeline: tuple[LinkChange, ...], ends_s: dict[str, float]) -> None:
    """Raises ValueError for changes that cannot all be, or that come after the load. ``ends_s``: by profile."""
    seen: set[tuple[float, str, bool]] = set()
    for change in timeline:
        for profile, end_s in ends_s.items():
            if change.at_s > end_s:
                raise ValueError(
                    f"timeline: `{change.text()}` comes after the load, which ends at {end_s:g} s in profile {profile}"
                )
        key = (change.at_s, change.link, change.state is None)
        if key in seen:
            raise ValueError(f"timeline: {change.link} is changed twice at {change.at_s:g} s")
        seen.add(key)
        if change.node is None and change.state is None:
            raise ValueError(
                f"timeline: `{change.text()}`: a whole network goes down or up; a shape is for a node's link, "
                f"like server/{change.network}"
            )


def _parsed(change: str | dict[str, Any]) -> LinkShape:
    return parse_link_text("change", change) if isinstance(change, str) else parse_link("change", change)
