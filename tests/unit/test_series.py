"""Counts per interval from what the clients print along the way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.engine.program import Line
from testbed.engine.series import intervals_of

START_NS = 10**12


def line(at_s: float, replies: int) -> Line:
    return {"now_ns": START_NS + round(at_s * 1e9), "started": 2 * replies, "replies": replies, "errors": 0}


def test_counts_are_summed_over_the_clients_of_a_network() -> None:
    steady = [line(0.1, 10), line(0.2, 30), line(0.35, 60)]
    found = intervals_of({"net0": [steady, steady], "net1": [[line(0.3, 0)]]}, START_NS, 0.3, 0.1)
    assert found.networks["net0"].replies == (20, 40, 40)
    assert found.networks["net0"].started == (40, 80, 80)
    assert found.networks["net1"].replies == (0, 0, 0)
    assert found.total("replies") == [20, 40, 40]


def test_a_line_that_came_late_is_spread_over_the_intervals_that_it_counts() -> None:
    found = intervals_of({"net0": [[line(0.1, 10), line(0.3, 50)]]}, START_NS, 0.4, 0.1)
    assert found.networks["net0"].replies == (10, 20, 20, 0)


def test_the_last_interval_may_be_shorter() -> None:
    found = intervals_of({"net0": [[line(0.5, 50)]]}, START_NS, 0.25, 0.1)
    assert found.networks["net0"].replies == (10, 10, 5)


def test_the_end_of_the_load_counts_what_the_next_line_says_if_that_is_soon() -> None:
    soon, late = [line(0.1, 10), line(0.21, 20)], [line(0.1, 10), line(0.4, 40)]
    assert intervals_of({"net0": [soon]}, START_NS, 0.2, 0.1).total("replies") == [10, 10]
    assert intervals_of({"net0": [late]}, START_NS, 0.2, 0.1).total("replies") == [10, 10]
    assert intervals_of({"net0": [late]}, START_NS, 0.3, 0.1).total("replies") == [10, 10, 10]


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 1000)), max_size=6), min_size=1, max_size=4),
    st.integers(1, 37),
)
def test_nothing_is_lost_or_made_up(clients: list[list[tuple[int, int]]], tenths: int) -> None:
    each = []
    for steps in clients:
        now, count, lines = 0.0, 0, []
        for gap_ms, more in steps:
            now, count = now + gap_ms / 1000, count + more
            lines.append(line(now, count))
        each.append(lines)
    last_s = max((sum(gap for gap, _ in steps) for steps in clients), default=0) / 1000
    found = intervals_of({"net0": each}, START_NS, last_s + 0.1, tenths / 10)
    assert sum(found.total("replies")) == sum(lines[-1]["replies"] for lines in each if lines)
    assert min(found.total("replies")) >= 0
