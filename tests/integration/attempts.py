"""Measuring on a machine that may be busy with other things.

The allowance: what fails is measured again, three times in all. A busy machine may spoil a measurement, but it cannot
turn a link that is wrong into one that is right.
"""

from __future__ import annotations

from collections.abc import Callable

ATTEMPTS = 3


def attempts(complaint: Callable[[], str | None]) -> list[str]:
    """The complaints before the first attempt that has none; as many as there are attempts if each has one."""
    complaints: list[str] = []
    for _ in range(ATTEMPTS):
        found = complaint()
        if found is None:
            break
        complaints.append(found)
    return complaints


def holds_once(complaint: Callable[[], str | None]) -> None:
    """Fails when each attempt has a complaint."""
    complaints = attempts(complaint)
    assert len(complaints) < ATTEMPTS, "; ".join(complaints)
