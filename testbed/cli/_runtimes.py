"""In which runtimes a verb looks, and what it says of those that cannot be asked what stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.cli import _progress
from testbed.engine import lab_state
from testbed.errors import EnvironmentLack
from testbed.runtime.base import Runtime
from testbed.runtime.choose import choose, none_works, working


@dataclass(frozen=True)
class Asked:
    """``runtimes`` can be asked; of the others ``lacks`` says why not, by name."""

    runtimes: list[Runtime]
    lacks: Mapping[str, EnvironmentLack]

    @property
    def where(self) -> str:
        """Ends a sentence that says that there is nothing: "", or where alone that is known."""
        return f" in {', '.join(runtime.name for runtime in self.runtimes)}" if self.lacks else ""

    def name_others(self) -> None:
        """One line on stderr for each that could not be asked."""
        for name, lack in self.lacks.items():
            _progress.say(f"not asked: {name} ({lack.what})")

    def insist(self, lab: str | None = None) -> None:
        """Raises EnvironmentLack if a lab that was brought up (that lab, or any) may stand where nobody could ask."""
        for name, runtime in lab_state.saved_runtimes().items():
            if lab in (None, name) and runtime in self.lacks:
                lack = self.lacks[runtime]
                raise EnvironmentLack(f"lab {name!r} was brought up with {runtime}: {lack.what}", lack.fix)


def asked(runtime: str) -> Asked:
    """The runtime of that name, or all that work here. Raises EnvironmentLack if none is left."""
    if runtime != "auto":
        return Asked([choose(runtime)], {})
    runtimes, lacks = working()
    if not runtimes:
        raise none_works(lacks)
    return Asked(runtimes, lacks)
