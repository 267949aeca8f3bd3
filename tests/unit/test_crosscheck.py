"""What two tools saw is compared: counts in every round, response times in the least disturbed one."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.engine.crosscheck import Comparison, Row, compare
from testbed.model.record import Errors


def row(tool: str, **changes: Any) -> Row:
    """What httperf would see at 100/s: 0.30 ms, of which its packets show 0.25."""
    counts = {"connections": 200, "requests": 200, "replies": 200, "errors": Errors()}
    times = {"response_ms": 0.30, "resolution_ms": 0.10, "server_ms": 0.10, "client_ms": 0.15, "cpu_share": 0.99}
    return Row(workload="one-byte", tool=tool, **{"rate_per_s": 100, **counts, **times, **changes})


def compared(*rounds: dict[str, Any], original: dict[str, Any] | None = None) -> Comparison:
    """Loadgen's rounds against as many of httperf's."""
    exact = {"resolution_ms": 0.0, "cpu_share": 0.04}
    rows = [r for one in rounds for r in (row("httperf", **(original or {})), row("loadgen", **{**exact, **one}))]
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


@pytest.mark.parametrize("part", ["server_ms", "client_ms"])
@pytest.mark.parametrize("by_ms", [-0.2, 0.2])
def test_a_difference_that_is_in_the_packets_is_explained(part: str, by_ms: float) -> None:
    """The server was slower that time, or the tool slower to react: neither is a fault of how it measures."""
    usual = {"server_ms": 0.30, "client_ms": 0.30, "response_ms": 0.65}
    found = compared({**usual, part: 0.30 + by_ms, "response_ms": 0.65 + by_ms}, original=usual)
    assert (found.close, found.explained, found.agrees) == (False, True, True)
    assert getattr(found, part) == pytest.approx(by_ms)
    assert found.beyond_ms == pytest.approx(0)


@pytest.mark.parametrize(("response_ms", "explained"), [(0.42, True), (0.44, False), (0.18, True), (0.16, False)])
def test_what_is_not_may_be_the_tolerance_and_the_original_s_rounding(response_ms: float, explained: bool) -> None:
    found = compared({"response_ms": response_ms})
    assert found.allowed_ms == pytest.approx(0.03 + 0.10)
    assert found.beyond_ms == pytest.approx(response_ms - 0.30)
    assert (found.close, found.explained, found.agrees) == (False, explained, explained)


def test_hiccups_decide_nothing() -> None:
    assert compared({"response_ms": 4.2}, {}, {"response_ms": 25.9}).agrees


def test_both_workloads_and_rates_are_held_apart() -> None:
    rows = [row(tool, rate_per_s=rate) for rate in (100, 400) for tool in ("httperf", "a", "b")]
    found = compare(rows)
    assert [(each.rate_per_s, each.tool) for each in found] == [(100, "a"), (100, "b"), (400, "a"), (400, "b")]
