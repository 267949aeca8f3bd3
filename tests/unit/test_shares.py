"""Shares of the profile: sleep is taken from the waits alone, time that others took from every call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.shares import KERNEL, USER, shares_of
from tests.unit.records import record


def _shares(
    times_ms: dict[str, float],
    user_ms: float,
    cpu_ms: float,
    chosen: int,
    forced: int,
    waits: tuple[str, ...] | None = None,
    waits_cpu_ms: dict[str, float] | None = None,
) -> dict[str, float]:
    """``waits``: the calls that the server says can block; None is a server from before it said so. ``waits_cpu_ms``:
    their CPU time, which it tells since later still."""

    def call(name: str, time: float) -> dict[str, Any]:
        said: dict[str, Any] = {} if waits is None else {"waits": name in waits}
        if waits_cpu_ms and name in waits_cpu_ms:
            said["cpu_ns"] = 1e6 * waits_cpu_ms[name]
        return {"calls": 1, "time_ns": 1e6 * time, **said}

    def line(times: dict[str, float], user: float, cpu: float, chosen: int, forced: int) -> dict[str, Any]:
        return {
            "cpu_user_us": 1e3 * user,
            "cpu_system_us": 1e3 * (cpu - user),
            "context_switches_voluntary": chosen,
            "context_switches_involuntary": forced,
            "syscalls": {name: call(name, time) for name, time in times.items()},
        }

    edges = {"server_before": line({}, 0, 0, 0, 0), "server_after": line(times_ms, user_ms, cpu_ms, chosen, forced)}
    return shares_of(record().model_copy(update={"raw": edges}))


def test_a_server_that_never_ran_short_of_cpu_has_its_times_as_they_are() -> None:
    shares = _shares({"read": 30, "epoll_wait": 10}, user_ms=60, cpu_ms=100, chosen=0, forced=0)
    assert shares == pytest.approx({"read": 30, "epoll_wait": 10, KERNEL: 0, USER: 60})


def test_sleep_is_taken_from_the_waits() -> None:
    shares = _shares({"read": 30, "epoll_wait": 510}, user_ms=60, cpu_ms=100, chosen=1000, forced=0)
    assert shares == pytest.approx({"read": 30, "epoll_wait": 10, KERNEL: 0, USER: 60})


def test_time_that_others_took_falls_on_every_call_and_not_on_the_waits_alone() -> None:
    shares = _shares({"read": 60, "epoll_wait": 20}, user_ms=60, cpu_ms=100, chosen=0, forced=300)
    assert shares == pytest.approx({"read": 30, "epoll_wait": 10, KERNEL: 0, USER: 60})


def test_kernel_time_outside_the_calls_is_not_user_time() -> None:
    shares = _shares({"read": 30, "epoll_wait": 10}, user_ms=35, cpu_ms=100, chosen=0, forced=0)
    assert shares == pytest.approx({"read": 30, "epoll_wait": 10, KERNEL: 25, USER: 35})


def test_the_server_says_which_of_its_calls_can_block() -> None:
    """A mechanism of one's own waits in a call that nobody here has heard of."""
    times = {"read": 30.0, "my_wait": 510.0}
    shares = _shares(times, user_ms=60, cpu_ms=100, chosen=1000, forced=0, waits=("my_wait",))
    assert shares == pytest.approx({"read": 30, "my_wait": 10, KERNEL: 0, USER: 60})
    flush = {"epoll_wait": 510.0, "io_uring_enter": 30.0}
    shares = _shares(flush, user_ms=60, cpu_ms=100, chosen=1000, forced=0, waits=("epoll_wait",))
    assert shares == pytest.approx({"epoll_wait": 10, "io_uring_enter": 30, KERNEL: 0, USER: 60})


def test_waits_have_the_cpu_time_that_the_server_tells_however_long_they_slept() -> None:
    """Interrupts fell into the other calls: 50 ms by the clock on the wall are 30 ms of CPU time."""
    times, cpu = {"read": 50.0, "epoll_wait": 510.0}, {"epoll_wait": 10.0}
    shares = _shares(times, 60, 100, chosen=1000, forced=1000, waits=("epoll_wait",), waits_cpu_ms=cpu)
    assert shares == pytest.approx({"read": 30, "epoll_wait": 10, KERNEL: 0, USER: 60})
    shares = _shares({**times, "read": 20.0}, 60, 100, 1000, 1000, waits=("epoll_wait",), waits_cpu_ms=cpu)
    assert shares == pytest.approx({"read": 20, "epoll_wait": 10, KERNEL: 10, USER: 60})


def test_a_server_that_used_no_cpu_time_has_no_shares() -> None:
    assert _shares({}, user_ms=0, cpu_ms=0, chosen=0, forced=0) == {}


@given(
    times=st.dictionaries(st.sampled_from(["read", "close", "select", "epoll_wait"]), st.floats(0, 1000), max_size=4),
    user=st.floats(0, 100),
    chosen=st.integers(0, 1000),
    forced=st.integers(0, 1000),
    waits_cpu=st.none() | st.fixed_dictionaries({"epoll_wait": st.floats(0, 200)}),
)
def test_shares_are_a_whole(
    times: dict[str, float], user: float, chosen: int, forced: int, waits_cpu: dict[str, float] | None
) -> None:
    shares = _shares(times, user, 100.0, chosen, forced, waits_cpu_ms=waits_cpu)
    assert sum(shares.values()) == pytest.approx(100)
    assert all(share >= 0 for share in shares.values())
