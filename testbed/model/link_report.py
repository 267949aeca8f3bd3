"""What was declared for one direction of a link, what was set, and what probes found: kept with every run."""

from __future__ import annotations

from typing import Literal

from testbed.model.shape import Direction, Shape
from testbed.model.value import Value
from testbed.units import format_duration_us, format_percent, format_rate_bps

_JITTER_TOLD_US = 100
"""Less than this is the probes' own, and not worth a word."""

LinkVerdict = Literal["as declared", "off", "cannot tell"]


class Share(Value):
    """``count`` of ``of``, with the exact 99.9 % interval of the true share, all in per cent."""

    count: int
    of: int
    low_percent: float
    high_percent: float

    @property
    def percent(self) -> float:
        """The share that was seen."""
        return 100 * self.count / self.of


class Measured(Value):
    """One direction as probes saw it.

    Delays are one-way, with the probes' own share (``baseline_us``, the median over loopback in the same minute) taken
    off; they are those of the ``travelled`` probes, which neither were lost nor passed at once. ``delay_foreseen_us``
    is where the median of ``delay_us`` was to be: above the declared delay where a rate keeps packets in order behind
    one that jitter made late. ``crowded_percent`` were sent so late that the next was due. ``overtaken`` counts probes
    that arrived after a later one. ``rate_bps`` is None where no rate was tried; the true rate lies between
    ``rate_low_bps`` and ``rate_high_bps`` however often the receiver had to wait for a CPU.
    """

    probes: int
    travelled: int
    baseline_us: float
    delay_us: float
    delay_p10_us: float
    delay_p90_us: float
    delay_foreseen_us: float
    jitter_us: float
    crowded_percent: float
    lost: Share
    duplicated: Share
    corrupted: Share
    early: Share
    overtaken: int
    rate_bps: float | None
    rate_low_bps: float | None = None
    rate_high_bps: float | None = None
    offered_bps: float | None

    def text(self) -> str:
        """What it comes to, in one line."""
        parts = [f"delay {format_duration_us(round(self.delay_us))}"]
        if self.jitter_us > _JITTER_TOLD_US:
            parts.append(f"jitter {format_duration_us(round(self.jitter_us))}")
        low, high = (format_percent(round(bound, 3)) for bound in (self.lost.low_percent, self.lost.high_percent))
        parts.append(f"loss {format_percent(round(self.lost.percent, 3))} (99.9%: {low} to {high})")
        if self.rate_bps is not None:
            parts.append(f"rate {format_rate_bps(round(self.rate_bps, -3))}")
        counts = (
            ("duplicates", self.duplicated.count),
            ("corrupted", self.corrupted.count),
            ("overtaken", self.overtaken),
        )
        parts += [f"{count} {name}" for name, count in counts if count]
        return f"{', '.join(parts)}; {self.probes} probes"


class LinkReport(Value):
    """A direction's declaration, what was read back, what was measured, and whether they agree.

    ``via`` is the node at the other end of the probes. ``beside`` is the other shape on the way, that of ``via``.
    ``deviations`` say what is off by how much, or what could not be told; empty when all is as declared.
    What is not as declared is measured twice, for chance has its share: ``first_verdict`` and ``first_deviations`` are
    those of the first time (None and empty when once was enough). It is off when it was off both times.
    ``why``: which backends were chosen and why, where that is known.
    """

    node: str
    network: str
    direction: Direction
    via: str
    backend: str
    declared: Shape
    read_back: Shape
    beside: Shape
    measured: Measured
    verdict: LinkVerdict
    deviations: tuple[str, ...]
    first_verdict: LinkVerdict | None = None
    first_deviations: tuple[str, ...] = ()
    why: str = ""

    def text(self) -> str:
        """In one line."""
        by = self.why or self.backend
        found = "".join(f"; {deviation}" for deviation in self.deviations)
        return (
            f"{self.node} {self.network} {self.direction}: declared {self.declared.text()}, "
            f"measured {self.measured.text()} [{by}]: {self.verdict}{found}"
        )
