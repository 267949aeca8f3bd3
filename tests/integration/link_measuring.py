"""Reports of links on a machine that may be busy with other things."""

from __future__ import annotations

from testbed.link.plans import Effort
from testbed.link.probing import measure_direction
from testbed.model.link_report import LinkReport
from testbed.model.shape import Direction, LinkShape
from tests.integration.attempts import CannotTell, holds
from tests.integration.link_pair import Pair

NOTHING = LinkShape()
BRIEF = Effort(spaced_s=0.4, flood_s=0.3)


def believed(
    pair: Pair, direction: Direction, declared: LinkShape, *, beside: LinkShape = NOTHING, effort: Effort = BRIEF
) -> LinkReport:
    """The report of a link that is as declared. Skips where the machine cannot tell.

    What is off once and not the second time, which a user's report forgives, counts as off here: ``holds`` has its own
    allowance.
    """
    reports: list[LinkReport] = []

    def complaint() -> str | None:
        reports.append(measure_direction(pair.near, pair.far, direction, declared, beside, effort))
        seen = reports[-1]
        if seen.verdict == "off":
            return "; ".join(seen.deviations)
        if seen.first_verdict == "off":
            return "; ".join(seen.first_deviations)
        if seen.verdict == "cannot tell":
            raise CannotTell("; ".join(seen.deviations))
        return None

    holds(complaint)
    return reports[-1]
