"""Which runtime this machine can work with."""

from __future__ import annotations

from testbed.errors import EnvironmentLack
from testbed.runtime.base import RUNTIMES, Runtime

_PREFERRED = ("docker", "netns")
"""What "auto" tries, in this order. The fake is never picked: it measures nothing."""


def choose(name: str = "auto") -> Runtime:
    """The runtime of that name; "auto" is the first that works here.

    Raises UsageError for an unknown name and EnvironmentLack, saying what is missing and how to get it.
    """
    if name != "auto":
        return RUNTIMES.get(name)()
    lacks = []
    for candidate in _known():
        try:
            return RUNTIMES.get(candidate)()
        except EnvironmentLack as lack:
            lacks.append((candidate, lack))
    if not lacks:
        raise EnvironmentLack("this installation has no runtime", "install the testbed package again")
    what = "; ".join(f"{candidate}: {lack.what}" for candidate, lack in lacks)
    raise EnvironmentLack(f"no runtime works here ({what})", lacks[0][1].fix)


def working() -> list[Runtime]:
    """Every runtime that works here, best first. Empty when there is none."""
    found: list[Runtime] = []
    for candidate in _known():
        try:
            found.append(RUNTIMES.get(candidate)())
        except EnvironmentLack:
            continue  # asked for what works; ``choose`` tells the reasons
    return found


def _known() -> list[str]:
    names = RUNTIMES.names()
    return [name for name in _PREFERRED if name in names]
