"""What two tools saw is compared: counts round by round, response times by medians and measured causes."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.engine.crosscheck import Comparison, Row, compare
from testbed.model.record import Errors


def row(tool: str, **changes: Any) -> Row:
    """What httperf would see at 100/s: it polls, so its CPU time explains nothing."""
    counts = {"connections": 200, "requests": 200, "replies": 200, "errors": Errors()}
    times = {"response_ms": 0.30, "cpu_share": 0.99, "cpu_ms": 9}
    return Row(workload="one-byte", tool=tool, **{"rate_per_s": 100, **counts, **times, **changes})


def compared(*rounds: dict[str, Any], original: dict[str, Any] | None = None) -> Comparison:
    """Loadgen's rounds against as many of httperf's."""
    asleep = {"cpu_share": 0.04, "cpu_ms": 0.2}
    rows = [r for one in rounds for r in (row("httperf", **(original or {})), row("loadgen", **{**asleep, **one}))]
    (found,) = compare(rows)
    return found


def test_the_same_counts_and_close_times_agree() -> None:
    found = compared({"response_ms": 0.32})
    assert (found.counts, found.close, found.agrees) == ("", True, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"replies": 199}, "replies 199 against 200"),
        ({"requests": 199}, "requests 199 against 200"),
        ({"connections": 201}, "connections 201 against 200"),
        ({"errors": Errors(client_timo=1)}, "errors client_timo=1"),
    ],
)
def test_one_count_that_differs_in_one_round_is_told(change: dict[str, Any], said: str) -> None:
    found = compared({}, change, {})
    assert found.counts.startswith(said)
    assert not found.agrees


def test_a_difference_within_the_tools_own_cpu_time_is_explained() -> None:
    found = compared({"response_ms": 0.45})
    assert (found.close, found.explained, found.agrees) == (False, True, True)


def test_a_difference_beyond_it_is_not() -> None:
    found = compared({"response_ms": 0.55})
    assert (found.explained, found.agrees) == (False, False)


def test_a_tool_that_polls_explains_nothing_by_its_cpu_time() -> None:
    found = compared({"response_ms": 0.45, "cpu_share": 0.9, "cpu_ms": 9.0})
    assert (found.own_ms, found.agrees) == (0.0, False)


@pytest.mark.parametrize(("original", "explained"), [({}, False), ({"cpu_share": 0.1, "cpu_ms": 0.2}, True)])
def test_only_the_slower_tool_s_cpu_time_explains(original: dict[str, Any], explained: bool) -> None:
    """Httperf saw longer times: loadgen's work is no part of them, and httperf's is only where it sleeps."""
    found = compared({"response_ms": 0.15}, original=original)
    assert (found.close, found.explained) == (False, explained)


def test_one_hiccup_decides_nothing() -> None:
    assert compared({}, {"response_ms": 25.9}, {}).agrees


def test_both_workloads_and_rates_are_held_apart() -> None:
    rows = [row(tool, rate_per_s=rate) for rate in (100, 400) for tool in ("httperf", "a", "b")]
    found = compare(rows)
    assert [(each.rate_per_s, each.tool) for each in found] == [(100, "a"), (100, "b"), (400, "a"), (400, "b")]
