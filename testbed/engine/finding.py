"""One thing that ``testbed doctor`` looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "lack"]


@dataclass(frozen=True)
class Finding:
    """``state``: "ok"; "warn": it works with a limit; "lack": it is not there. ``required``: without it the main job
    cannot run. ``what`` says what was seen, ``fix`` how to change it, in one line each; an "ok" has no fix."""

    name: str
    state: State
    what: str
    fix: str = ""
    required: bool = False

    @property
    def blocks(self) -> bool:
        """Whether the main job cannot run because of it."""
        return self.required and self.state == "lack"
