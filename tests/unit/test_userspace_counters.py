"""What linkems say of themselves between two readings, and what it makes of a point."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from testbed.link.base import Endpoint
from testbed.link.userspace_counters import UserspaceCounters, described
from testbed.model.record import Verdict
from testbed.runtime.base import Completed, Process
from tests.unit.records import record

QUIET = {"released": 1000, "late_counts": [[64_000, 1000]], "late_p50_ns": 64_000, "late_p99_ns": 64_000}


class Place:
    """Answers as a linkem would, one state after the other."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states = list(states)

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        if command[0] != "linkem":
            return Completed(0, "", "")  # no table of iptables is in use
        fixed = {"type": "state", "label": "a/net0/down", "pid": 7, "shape": {"delay_ns": 20_000_000}}
        counts = {"kernel_dropped_full": 0, "kernel_dropped_unread": 0, "failed_copies": 0, "late_max_ns": 9_000_000}
        return Completed(0, json.dumps({**fixed, **counts, **QUIET, **self.states.pop(0)}), "")

    def start(self, command: Sequence[str]) -> Process:
        raise AssertionError(command)


def judged(*states: dict[str, Any]) -> Any:
    endpoint = Endpoint("a", "net0", "eth0", "10.0.0.1", Place(*states))
    counters = UserspaceCounters([(endpoint, "down")])
    return counters.judged(record("epoll", 1000))


def test_what_came_before_the_point_does_not_count() -> None:
    early = {"late_counts": [[64_000, 900], [9_000_000, 100]], "kernel_dropped_full": 5}
    found = judged(early, {**early, "released": 3000, "late_counts": [[64_000, 2900], [9_000_000, 100]]})
    assert found.verdict == Verdict.VALID
    (window,) = found.evidence["userspace"]
    assert (window["released"], window["late_p50_ns"], window["late_p99_ns"]) == (2000, 64_000, 64_000)
    assert window["kernel_dropped_full"] == 0


@pytest.mark.parametrize(("late_ns", "verdict"), [(1_900_000, Verdict.VALID), (2_200_000, Verdict.SUSPECT)])
def test_one_packet_in_a_hundred_may_be_late_by_a_tenth_of_the_delay(late_ns: int, verdict: Verdict) -> None:
    found = judged({}, {"released": 2000, "late_counts": [[64_000, 1980], [late_ns, 20]]})
    assert found.verdict == verdict
    if verdict is Verdict.SUSPECT:
        late = "one packet in a hundred went on 2.2 ms late or more, 2.0 ms is allowed"
        assert found.reasons == (f"link a/net0/down (userspace, at a): {late}",)


def test_what_the_kernel_dropped_makes_the_point_invalid() -> None:
    found = judged({"kernel_dropped_full": 2}, {"kernel_dropped_full": 5, "kernel_dropped_unread": 1})
    assert found.verdict == Verdict.INVALID
    assert found.reasons == (
        "link a/net0/down (userspace, at a): the kernel dropped 4 packets and 0 copies that its shape does not lose",
    )


def test_a_linkem_that_was_started_anew_begins_at_nothing() -> None:
    found = judged({"kernel_dropped_full": 50}, {"pid": 8, "released": 10, "late_counts": [[64_000, 10]]})
    assert found.evidence["userspace"][0]["released"] == 10
    assert found.verdict == Verdict.VALID


def test_how_late_a_linkem_was_is_shown() -> None:
    endpoint = Endpoint("a", "net0", "eth0", "10.0.0.1", Place({}))
    assert described(endpoint, "down") == [
        "at a: 1000 packets, late by median 0.06 ms, 99% 0.06 ms, at most 9.00 ms; 0 dropped by the kernel"
    ]
