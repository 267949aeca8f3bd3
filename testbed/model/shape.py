"""What a link does to the packets that cross it, one direction at a time: plain numbers, checked.

``Shape()`` does nothing. ``LinkShape`` is an endpoint's two directions, seen from the node: ``down`` is what reaches
it, ``up`` what it sends. Text ("20ms", profiles) is read by ``shape_text``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator, model_validator

from testbed.model.value import Value
from testbed.units import format_duration_us, format_percent, format_rate_bps, format_size_bytes

Distribution = Literal["uniform", "normal", "pareto"]
Direction = Literal["down", "up"]
DIRECTIONS: tuple[Direction, Direction] = ("down", "up")

DEFAULT_LIMIT_PKTS = 1000
"""Packets that may wait for a rate where a shape does not say: Linux's usual transmit queue."""

_MAX_DELAY_US = 60_000_000
_MAX_RATE_BPS = 100 * 10**9
_MIN_RATE_BPS = 8_000
_MAX_BURST_BYTES = 16 * 2**20
_MAX_LIMIT_PKTS = 1_000_000

_SHARE_DECIMALS = 6

_Format = Callable[[float], str]
_RANGES: dict[str, tuple[float, float, _Format]] = {
    "delay_us": (0, _MAX_DELAY_US, format_duration_us),
    "jitter_us": (0, _MAX_DELAY_US, format_duration_us),
    "correlation_percent": (0, 99, format_percent),
    "loss_percent": (0, 100, format_percent),
    "duplicate_percent": (0, 100, format_percent),
    "reorder_percent": (0, 100, format_percent),
    "corrupt_percent": (0, 100, format_percent),
    "rate_bps": (_MIN_RATE_BPS, _MAX_RATE_BPS, format_rate_bps),
    "burst_bytes": (1514, _MAX_BURST_BYTES, format_size_bytes),
    "limit_pkts": (1, _MAX_LIMIT_PKTS, lambda count: f"{count:g}"),
    "seed": (0, 2**63 - 1, lambda seed: f"{seed:.0f}"),
    "p_percent": (0, 100, format_percent),
    "r_percent": (0, 100, format_percent),
    "bad_loss_percent": (0, 100, format_percent),
    "good_loss_percent": (0, 100, format_percent),
}
"""For each number: the lowest and the highest value, and how to write it."""


def _in_range(field: str, value: Any) -> Any:
    low, high, text = _RANGES[field]
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    if not low <= value <= high:
        raise ValueError(f"{text(value)} is out of range: from {text(low)} to {text(high)}")
    if field.endswith("_percent") and value != round(value, _SHARE_DECIMALS):
        raise ValueError(f"{value!r}%: at most {_SHARE_DECIMALS} decimals are allowed, no backend keeps more")
    return value


def jitter_quantile(distribution: Distribution, probability: float) -> float:
    """The inverse of a jitter's distribution: a probability (0 to 1, both excluded) to jitters around the delay."""
    if distribution == "uniform":
        return 2 * probability - 1
    if distribution == "normal":
        return max(-4.0, min(4.0, NormalDist().inv_cdf(probability)))
    return min(4.0, (math.pow(1 - probability, -1 / 3) - 1.5) * 4 / 3)


class GilbertElliott(Value):
    """Loss in bursts, as in ``tc … loss gemodel p r 1-h 1-k``: a good and a bad state, changed at each packet.

    ``p_percent``: from good to bad; ``r_percent``: from bad to good (with the defaults bursts are 1/r packets long);
    ``bad_loss_percent`` (1-h) and ``good_loss_percent`` (1-k): what is lost in each state.
    """

    p_percent: float
    r_percent: float
    bad_loss_percent: float = 100.0
    good_loss_percent: float = 0.0

    @field_validator("*", mode="before")
    @classmethod
    def _ranges(cls, value: Any, info: ValidationInfo) -> Any:
        return _in_range(str(info.field_name), value)

    @model_validator(mode="after")
    def _possible(self) -> GilbertElliott:
        if self.p_percent == 0:
            raise ValueError("p is 0%: the link would never lose in bursts; above 0% is allowed, or plain loss")
        if self.r_percent == 0:
            raise ValueError("r is 0%: the link would never leave the bad state; above 0% is allowed")
        if self.bad_loss_percent <= self.good_loss_percent:
            raise ValueError("1-h must be above 1-k: the bad state is the one that loses more")
        return self

    @property
    def mean_loss_percent(self) -> float:
        """The share lost in the long run."""
        bad = self.p_percent / (self.p_percent + self.r_percent)
        return bad * self.bad_loss_percent + (1 - bad) * self.good_loss_percent

    def text(self) -> str:
        """As it is written: "p r 1-h 1-k"."""
        parts = (self.p_percent, self.r_percent, self.bad_loss_percent, self.good_loss_percent)
        return " ".join(format_percent(part) for part in parts)


class Shape(Value):
    """One direction of a link. Zero, None and "nothing" mean: not touched.

    A packet waits its turn for ``rate_bps`` (counted with 14 bytes of Ethernet header; at most ``limit_pkts`` wait,
    the next is dropped; ``burst_bytes`` may pass at once after a pause), and then travels for ``delay_us`` plus a draw:
    ``uniform`` within ± ``jitter_us``; ``normal`` with that standard deviation, cut at four of them; ``pareto`` is
    netem's: (4/3)(X - 1.5) jitters, X Pareto of shape 3, at most four jitters. Without a rate a later packet may
    overtake. ``correlation_percent`` binds a draw to the one before (the distribution stays as it is).
    ``reorder_percent`` of the packets do not travel but arrive at once. ``seed`` makes it repeatable where the backend
    can; None leaves the choice to the backend. ``limit_pkts`` None is the default, 1000.
    """

    delay_us: int = 0
    jitter_us: int = 0
    distribution: Distribution = "uniform"
    correlation_percent: float = 0.0
    loss_percent: float = 0.0
    gemodel: GilbertElliott | None = None
    duplicate_percent: float = 0.0
    reorder_percent: float = 0.0
    corrupt_percent: float = 0.0
    rate_bps: int | None = None
    burst_bytes: int | None = None
    limit_pkts: int | None = None
    seed: int | None = None

    @field_validator(*(name for name in _RANGES if name.split("_")[0] not in {"p", "r", "bad", "good"}), mode="before")
    @classmethod
    def _ranges(cls, value: Any, info: ValidationInfo) -> Any:
        return _in_range(str(info.field_name), value)

    @field_validator("limit_pkts")
    @classmethod
    def _limit(cls, value: int | None) -> int | None:
        """One way to say it: a limit that is the default is none that was chosen, as backends report it."""
        return None if value == DEFAULT_LIMIT_PKTS else value

    @model_validator(mode="after")
    def _consistent(self) -> Shape:
        if self.jitter_us > self.delay_us:
            jitter, delay = format_duration_us(self.jitter_us), format_duration_us(self.delay_us)
            raise ValueError(f"jitter {jitter} is larger than delay {delay}: at most the delay is allowed")
        needs = {
            "correlation": (self.correlation_percent, self.jitter_us, "a jitter"),
            "distribution": (self.distribution != "uniform", self.jitter_us, "a jitter"),
            "reorder": (self.reorder_percent, self.delay_us, "a delay (the others must be behind)"),
            "burst": (self.burst_bytes, self.rate_bps, "a rate"),
            "limit": (self.limit_pkts, self.rate_bps, "a rate (without one nothing waits)"),
        }
        for name, (wish, need, what) in needs.items():
            if wish and not need:
                raise ValueError(f"{name} needs {what} beside it")
        if self.loss_percent and self.gemodel:
            raise ValueError("loss and gemodel: one of the two")
        return self

    @property
    def touches(self) -> bool:
        """Whether it does anything at all."""
        return self.model_copy(update={"seed": None}) != Shape()

    @property
    def mean_loss_percent(self) -> float:
        """The share that is lost in the long run, the queue of a rate aside."""
        return self.gemodel.mean_loss_percent if self.gemodel else self.loss_percent

    @property
    def longest_us(self) -> int:
        """The longest that a packet may travel, waiting for a rate aside."""
        return self.delay_us + (1 if self.distribution == "uniform" else 4) * self.jitter_us

    def text(self) -> str:
        """In one line, in the words of the command line."""
        parts = []
        if self.delay_us:
            parts.append(f"delay {format_duration_us(self.delay_us)}")
        if self.jitter_us:
            parts.append(f"jitter {format_duration_us(self.jitter_us)} {self.distribution}")
        for name in ("correlation", "loss", "duplicate", "reorder", "corrupt"):
            percent = getattr(self, f"{name}_percent")
            if percent:
                parts.append(f"{name} {format_percent(percent)}")
        if self.gemodel:
            parts.append(f"gemodel {self.gemodel.text()}")
        if self.rate_bps:
            parts.append(f"rate {format_rate_bps(self.rate_bps)}")
        if self.burst_bytes:
            parts.append(f"burst {format_size_bytes(self.burst_bytes)}")
        if self.limit_pkts:
            parts.append(f"limit {self.limit_pkts}")
        if self.seed is not None:
            parts.append(f"seed {self.seed}")
        return ", ".join(parts) or "unshaped"


class LinkShape(Value):
    """Both directions of an endpoint, seen from its node: ``down`` is received, ``up`` is sent."""

    down: Shape = Shape()
    up: Shape = Shape()

    def toward(self, direction: Direction) -> Shape:
        """The shape of one direction."""
        return self.down if direction == "down" else self.up

    def text(self) -> str:
        """In one line."""
        if self.down == self.up:
            return f"each way: {self.down.text()}"
        return f"down: {self.down.text()}; up: {self.up.text()}"
