"""The shaped links of a lab under a run: measured before the first point, looked at again after each.

A link that is not as declared makes points invalid, one of which that cannot be told suspect; neither goes by in
silence. A lab without shaped links costs nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.engine.lab import Lab
from testbed.engine.timeline import Timeline
from testbed.link.access_probing import measure_access
from testbed.link.base import Endpoint
from testbed.link.choose import differences
from testbed.link.lab_links import LabLinks
from testbed.link.userspace_counters import UserspaceCounters
from testbed.model.access import AccessLink
from testbed.model.link_report import LinkReport, LinkVerdict
from testbed.model.record import Record, Verdict
from testbed.model.shape import DIRECTIONS, Direction

_WORDS: dict[LinkVerdict, str] = {"off": "is off", "cannot tell": "could not be told to be as declared"}


class WatchedLinks:
    """Measures when made. ``reports`` are kept with the run, those of what its ``timeline`` sets and of the ``access``
    links of the clients' hosts among them.

    Raises UsageError for a declared shape that the load would not see: probes of the kernel would find it as declared.
    """

    def __init__(self, lab: Lab, timeline: Timeline, access: Sequence[AccessLink] = ()) -> None:
        self.timeline = timeline
        self._links = LabLinks(lab.runtime, lab.placed)
        # Those that were shaped once and are not any more are looked at too: something may have been left there.
        self._endpoints = [self._links.endpoint(*names) for names in self._links.touched()]
        shaped = [endpoint for endpoint in self._endpoints if self._is_shaped(endpoint)]
        for endpoint in shaped:
            self._links.refuse_unseen(endpoint)
        self._measured = tuple(report for endpoint in shaped for report in self._links.test(endpoint))
        self._access = tuple(measure_access(self._links, lab.placed, access)) if access else ()
        self.reports: tuple[LinkReport, ...] = (*self._measured, *timeline.reports, *self._access)
        self._userspace = UserspaceCounters([(end, side) for end in shaped for side in self._touched_sides(end)])

    def judged(self, record: Record) -> Record:
        """The record of a point that has just ended, after the timeline has put its links back: invalid, with the
        reasons, when a link was or is off."""
        record = self._userspace.judged(record)
        measured = (*self._measured, *self._access) if record.access else self._measured
        off = (*_with_verdict(measured, "off"), *self._not_set_now())
        unsure = _with_verdict((*measured, *self.timeline.reports), "cannot tell")
        worst = Verdict.INVALID if off else Verdict.SUSPECT
        if not off and not unsure:
            return record
        return record.model_copy(
            update={
                "verdict": max(record.verdict, worst, key=list(Verdict).index),
                "reasons": (*record.reasons, *off, *unsure),
                "evidence": {**record.evidence, "links_off": list(off), "links_not_told": list(unsure)},
            }
        )

    def _is_shaped(self, endpoint: Endpoint) -> bool:
        return bool(self._touched_sides(endpoint))

    def _touched_sides(self, endpoint: Endpoint) -> list[Direction]:
        declared = self._links.declared(endpoint)
        return [side for side in DIRECTIONS if declared.toward(side).touches]

    def _not_set_now(self) -> list[str]:
        return [
            reason
            for endpoint in self._endpoints
            for reason in differences(endpoint, self._links.declared(endpoint), "declared")
        ]


def _with_verdict(reports: Sequence[LinkReport], verdict: LinkVerdict) -> list[str]:
    return [
        f"link {report.node} {report.network} {report.direction} {_WORDS[verdict]}: {'; '.join(report.deviations)}"
        for report in reports
        if report.verdict == verdict
    ]
