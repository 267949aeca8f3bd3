"""The verdict: every rule fires on its own evidence and on nothing else; the worst one counts."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.engine.verdict import judge
from testbed.model.record import Verdict

QUIET: dict[str, Any] = {
    "clients_ready_late": 0,
    "client_cpu_busy_share": 0.7,
    "server_cpu_busy_share": 0.8,
    "answered_share": 0.9,
    "throttled_share": 0.0,
    "max_connections_wanted": 15_000,
    "max_connections": 15_000,
    "sockets_before": 20,
    "window_s": 2.0,
    "sent_share": 1.0,
    "lateness_p99_ms": 0.2,
    "generator_drop_share": 0.0,
    "ftab_full": 0,
    "replies": 9_000,
    "unexpected_errors": {},
    "not_understood": 0,
    "idle_wanted": 10_000,
    "idle_minimum": 10_000,
    "steal_share": 0.0,
    "foreign_share": 0.0,
    "softnet_drops": 0,
    "frames": 100_000,
    "timeline": [{"change": "2 s: net1 down", "late_ms": 9.0, "error": None}],
    "timeline_links_off": [],
    "carrier_changes": 0,
    "access": {"frames": 1000, "no_room": 0, "very_late_share": 0.009},
}


def test_quiet_evidence_is_valid() -> None:
    assert judge(QUIET).verdict is Verdict.VALID
    assert judge(QUIET).reasons == ()


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"clients_ready_late": 2}, Verdict.INVALID, "2 clients were not ready"),
        (
            {"timeline": [{"change": "2 s: net1 down", "late_ms": 10.5, "error": None}]},
            Verdict.SUSPECT,
            "`2 s: net1 down` came 10.5 ms late",
        ),
        (
            {"timeline": [{"change": "2 s: net1 down", "late_ms": None, "error": "no such device"}]},
            Verdict.INVALID,
            "`2 s: net1 down` was not made: no such device",
        ),
        ({"replies": 0}, Verdict.SUSPECT, "the server gave no reply at all"),
        ({"timeline_links_off": ["net1 is now up"]}, Verdict.INVALID, "net1 is now up"),
        ({"carrier_changes": 2}, Verdict.INVALID, "a link of the server went down or came up, and no timeline says so"),
        ({"access": {"frames": 0}}, Verdict.INVALID, "ran without their access links"),
        (
            {"access": {"frames": 1000, "no_room": 5, "very_late_share": 0.0}},
            Verdict.CLIENT_LIMITED,
            "5 frames found no room",
        ),
        (
            {"access": {"frames": 1000, "no_room": 0, "very_late_share": 0.02}},
            Verdict.SUSPECT,
            "2.0% of the frames left their access links more than 10 ms late",
        ),
        ({"sent_share": 0.99}, Verdict.CLIENT_LIMITED, "sent 99.0% of what was offered"),
        ({"lateness_p99_ms": 10.5}, Verdict.CLIENT_LIMITED, "10.5 ms late"),
        (
            {"client_cpu_busy_share": 0.99},
            Verdict.CLIENT_LIMITED,
            "the clients' CPUs were 99.0% busy, the server's 80.0%, and replies stayed out",
        ),
        ({"throttled_share": 0.02}, Verdict.SUSPECT, "a CPU quota stopped all programs for 2.0%"),
        ({"max_connections": 900}, Verdict.SUSPECT, "at most 900 connections, not the scenario's 15000"),
        ({"sockets_before": 501}, Verdict.SUSPECT, "501 sockets of what ran before were still closing"),
        ({"generator_drop_share": 0.01}, Verdict.CLIENT_LIMITED, "lost 1.00% of their frames"),
        ({"ftab_full": 3}, Verdict.CLIENT_LIMITED, "connection table full"),
        ({"unexpected_errors": {"other": 4}}, Verdict.SUSPECT, "4 other"),
        ({"not_understood": 1}, Verdict.SUSPECT, "did not understand 1 frames"),
        ({"idle_minimum": 9_980}, Verdict.INVALID, "only 9980 of 10000"),
        ({"steal_share": 0.03}, Verdict.SUSPECT, "the hypervisor took 3.0%"),
        ({"foreign_share": 0.2}, Verdict.SUSPECT, "other programs took 20%"),
        ({"foreign_share": None}, Verdict.SUSPECT, "share a CPU"),
        ({"softnet_drops": 200}, Verdict.SUSPECT, "backlog dropped 200"),
    ],
)
def test_each_rule(change: dict[str, Any], verdict: Verdict, reason: str) -> None:
    judgement = judge({**QUIET, **change})
    assert judgement.verdict is verdict
    assert len(judgement.reasons) == 1
    assert reason in judgement.reasons[0]


@pytest.mark.parametrize(
    "change",
    [
        {"sent_share": 0.996},
        {"lateness_p99_ms": 9.9},
        {"lateness_p99_ms": None},
        {"client_cpu_busy_share": 0.97},
        {"client_cpu_busy_share": 1.0, "server_cpu_busy_share": 0.9},
        {"client_cpu_busy_share": 1.0, "answered_share": 0.95},
        {"throttled_share": None},
        {"max_connections": None},
        {"sockets_before": 500},
        {"idle_minimum": 9_995},
        {"idle_wanted": 0, "idle_minimum": 0},
        {"steal_share": 0.01},
        {"foreign_share": 0.04},
        {"softnet_drops": 50},
    ],
)
def test_just_inside_a_limit_is_valid(change: dict[str, Any]) -> None:
    assert judge({**QUIET, **change}).verdict is Verdict.VALID


def test_the_worst_verdict_counts_and_all_reasons_stand() -> None:
    judgement = judge({**QUIET, "steal_share": 0.5, "idle_minimum": 0, "sent_share": 0.5})
    assert judgement.verdict is Verdict.INVALID
    assert len(judgement.reasons) == 3
