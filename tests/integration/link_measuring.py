"""Measuring links on a machine that may be busy with other things.

The allowance: what fails is measured again, three times in all. A busy machine may spoil a measurement, but it cannot
turn a link that is wrong into one that is right.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.link.probing import Effort, measure_direction
from testbed.model.link_report import LinkReport
from testbed.model.shape import Direction, LinkShape
from tests.integration.link_pair import Pair

ATTEMPTS = 3
NOTHING = LinkShape()
BRIEF = Effort(spaced_s=0.4, flood_s=0.3)


def holds_once(complaint: Callable[[], str | None]) -> None:
    """Fails when each attempt has a complaint."""
    complaints = []
    for _ in range(ATTEMPTS):
        found = complaint()
        if found is None:
            return
        complaints.append(found)
    pytest.fail("; ".join(complaints))


def believed(
    pair: Pair, direction: Direction, declared: LinkShape, *, beside: LinkShape = NOTHING, effort: Effort = BRIEF
) -> LinkReport:
    """The report of a link that is not off. It may be "cannot tell", where a machine cannot offer enough."""
    reports: list[LinkReport] = []

    def complaint() -> str | None:
        reports.append(measure_direction(pair.near, pair.far, direction, declared, beside, effort))
        return "; ".join(reports[-1].deviations) if reports[-1].verdict == "off" else None

    holds_once(complaint)
    return reports[-1]
