"""Measuring on a machine that may be busy with other things.

The allowance: after a measurement that fails, two in succession must hold, out of five in all. A busy machine may spoil
one now and then. A link that is wrong has no way through, and one that is wrong half of the time fails a test in four,
thus every suite.
"""

from __future__ import annotations

from collections.abc import Callable

ATTEMPTS = 5


def holds(complaint: Callable[[], str | None]) -> None:
    """Fails when the first attempt has a complaint, and no two in succession after it have none."""
    complaints: list[str] = []
    good = 0
    for _ in range(ATTEMPTS):
        found = complaint()
        good = 0 if found else good + 1
        if found:
            complaints.append(found)
        if good == (2 if complaints else 1):
            return
    raise AssertionError(f"{len(complaints)} of {ATTEMPTS}: {'; '.join(complaints)}")
