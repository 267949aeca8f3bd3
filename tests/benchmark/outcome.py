"""One measured figure beside its goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """``value`` with ``unit`` against ``goal``; ``at_least``: on which side the goal lies. Goal None: only told."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        text = f"{self.name}: {self.value:,.3f} {self.unit}".rstrip()
        if self.goal is None:
            return text
        sign = "≥" if self.at_least else "≤"
        return f"{text} (goal {sign} {self.goal:,g}: {'met' if self.met else 'NOT met'})"
