"""One measured figure beside its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.analysis.statistics import Interval, ratio_interval


@dataclass(frozen=True)
class Outcome:
    """``value`` with ``unit`` against ``goal``; ``at_least``: on which side the goal lies. Goal None: only told.

    ``interval`` is the 95 % one of the value, where it was measured often enough to have one.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True
    interval: Interval | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        text = f"{self.name}: {self.value:,.3f} {self.unit}".rstrip()
        if self.interval is not None:
            text += f" ({self.interval.low:,.3g} to {self.interval.high:,.3g})"
        if self.goal is None:
            return text
        sign = "≥" if self.at_least else "≤"
        return f"{text} (goal {sign} {self.goal:,g}: {'met' if self.met else 'NOT met'})"


def paired(name: str, ratios: Sequence[float], goal: float | None = None, at_least: bool = True) -> Outcome:
    """The ratio of two sides that were measured in turns, from the ratio of each turn."""
    interval = ratio_interval(ratios)
    return Outcome(f"{name}, {len(ratios)} pairs", interval.estimate, "×", goal, at_least, interval)
