"""Claims: sentences about mechanisms as statements that a saved run can be held against.

A claim reads one quantity from each valid point, divides some servers' by others' of the same repetition and rate, and
says between which bounds the result should lie. Ratios within one run need no absolute rates, so that a claim of 2004
can be held against a machine of today.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from testbed.model.value import Value


class At(StrEnum):
    """Which points a claim is about.

    ``every``: each rate. ``within capacity``: the rates at which all servers compared answer 95 % of what is offered;
    ``overload``: those at which at least one does not. Both are decided for a rate and idle population, by the median
    of its repetitions, and hold for all pairs there. ``peak``: the most that each server answered in a repetition, at
    whatever rate.
    """

    EVERY = "every"
    WITHIN_CAPACITY = "within capacity"
    OVERLOAD = "overload"
    PEAK = "peak"


class Outcome(StrEnum):
    """What a run says of a claim: the whole interval lies inside its bounds, outside of them, or neither."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    CANNOT_TELL = "cannot tell"


class Quantity(Value):
    """A number of one point, of one of three kinds; ``name`` says in a few words what it is, with its unit.

    ``field`` is a field of the record (``response_ms.p99``). ``counts`` are counters of the µserver, added up over the
    measurement window and divided by the counter ``per`` (``syscalls.epoll_ctl.calls`` per ``accepted``; a system call
    that was never made counts 0). ``shares`` are system calls whose part of the server's CPU time is added up, in per
    cent, in runs with ``profile``.
    """

    name: str
    field: str | None = None
    counts: tuple[str, ...] = ()
    per: str | None = None
    shares: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Quantity:
        if (self.field is not None) + bool(self.counts) + bool(self.shares) != 1:
            raise ValueError("a quantity is either a field, counts or shares")
        if bool(self.counts) != (self.per is not None):
            raise ValueError("counts need a counter to divide by (per), and only they do")
        return self


REPLIES = Quantity(name="replies/s", field="replies_per_s")
CPU_PER_REPLY = Quantity(name="CPU time per reply", field="server_cpu_us_per_reply")


class Subject(Value):
    """Which points: those of the server with this label, and of this idle population if one is named.

    ``where`` are further fields of the record that must be equal. ``scenario`` names another scenario, whose run
    beside the judged one that is nearest in time is taken; none means the judged run itself.
    """

    server: str
    idle_connections: int | None = Field(default=None, ge=0)
    where: dict[str, Any] = {}
    scenario: str | None = None

    def __str__(self) -> str:
        conditions = [] if self.idle_connections is None else [f"{self.idle_connections:,} idle"]
        conditions += [f"{name} {value}" for name, value in self.where.items()]
        conditions += [] if self.scenario is None else [f"in {self.scenario}"]
        return f"{self.server} ({', '.join(conditions)})" if conditions else self.server


class Claim(Value):
    """A sentence, and what must hold if it is true.

    The effect is the product of ``over`` divided by the product of ``under``: one server's number alone, the ratio of
    two, or, with two in each, whether one ratio is another's. It should be ``at_least`` and ``at_most`` so much.
    ``source`` says where the sentence stands.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    sentence: str
    source: str
    quantity: Quantity
    over: tuple[Subject, ...] = Field(min_length=1)
    under: tuple[Subject, ...] = ()
    at: At = At.EVERY
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounds(self) -> Claim:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a claim that nothing could contradict: at_least or at_most is needed")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is more than at_most")
        if not self.under and len(self.over) > 1:
            raise ValueError("several servers without others to compare them with")
        return self

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """All sides of it."""
        return (*self.over, *self.under)

    @property
    def bounds(self) -> str:
        """The bounds in few characters."""
        if self.at_least is None:
            return f"≤ {self.at_most:g}"
        if self.at_most is None:
            return f"≥ {self.at_least:g}"
        return f"{self.at_least:g} to {self.at_most:g}"


class Finding(Value):
    """What one run says of a claim. ``low`` and ``high`` are the interval of ``effect`` at ``confidence``.

    ``basis`` says what the interval is made from. ``reason`` says why it cannot be told, if it cannot.
    """

    claim: Claim
    outcome: Outcome
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float
    basis: str = ""
    reason: str = ""


def compared(
    name: str,
    sentence: str,
    source: str,
    over: str | Subject,
    under: str | Subject,
    quantity: Quantity = REPLIES,
    at: At = At.EVERY,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Claim:
    """A claim on the ratio of two servers, each named by its label or as a subject."""
    sides = [Subject(server=side) if isinstance(side, str) else side for side in (over, under)]
    return Claim(
        name=name,
        sentence=sentence,
        source=source,
        quantity=quantity,
        over=(sides[0],),
        under=(sides[1],),
        at=at,
        at_least=at_least,
        at_most=at_most,
    )


def claims_of(scenario: Mapping[str, Any], where: str) -> tuple[Claim, ...]:
    """The claims in a manifest's scenario; none in one from before there were any.

    Raises InputError that names ``where`` and the field.
    """
    return tuple(
        Claim.checked(f"{where}: scenario.claims.{index}", data)
        for index, data in enumerate(scenario.get("claims", ()))
    )
