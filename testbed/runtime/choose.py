"""Which runtime this machine can work with."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile

from testbed.errors import EnvironmentLack
from testbed.runtime.base import RUNTIMES, Runtime


def choose(name: str = "auto") -> Runtime:
    """The runtime of that name; "auto" is the first that works here.

    Raises UsageError for an unknown name and EnvironmentLack, saying what is missing and how to get it.
    """
    if name != "auto":
        return RUNTIMES.get(name)()
    lacks = {}
    for candidate in preferred():
        try:
            return RUNTIMES.get(candidate)()
        except EnvironmentLack as lack:
            lacks[candidate] = lack
    raise none_works(lacks)


def passed_over(name: str) -> dict[str, str]:
    """What "auto" would rather have taken than the runtime of that name, each with what this machine lacks for it."""
    _, lacks = working()
    before = takewhile(lambda each: each != name, preferred())
    return {each: lacks[each].what for each in before if each in lacks}


def working() -> tuple[list[Runtime], Mapping[str, EnvironmentLack]]:
    """Every runtime that works here, best first, and of each other one what it lacks: nobody can say what stands
    there."""
    found: list[Runtime] = []
    lacks = {}
    for candidate in preferred():
        try:
            found.append(RUNTIMES.get(candidate)())
        except EnvironmentLack as lack:
            lacks[candidate] = lack
    return found, lacks


def none_works(lacks: Mapping[str, EnvironmentLack]) -> EnvironmentLack:
    """The lack of a machine on which no runtime works, with what is missing for the preferred one."""
    if not lacks:
        return EnvironmentLack("this installation has no runtime", "install the testbed package again")
    what = "; ".join(f"{candidate}: {lack.what}" for candidate, lack in lacks.items())
    return EnvironmentLack(f"no runtime works here ({what})", next(iter(lacks.values())).fix)


def preferred() -> list[str]:
    """What "auto" tries, in this order."""
    ranks = {name: RUNTIMES.get(name).preference for name in RUNTIMES.names()}
    return [name for rank, name in sorted((rank, name) for name, rank in ranks.items() if rank is not None)]
