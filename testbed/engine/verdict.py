"""Whether a point's numbers can be believed, and why not.

A pure function of evidence. Each rule names its limit; the worst verdict of all rules is the point's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.model.record import Verdict

_ORDER = (Verdict.VALID, Verdict.SUSPECT, Verdict.CLIENT_LIMITED, Verdict.INVALID)

SENT_SHARE = 0.995
"""Below it the offered rate was not offered. httperf's users take 1 % as lost control; half of it here."""

BUSY_SHARE = 0.98
"""Of the clients' CPUs, by everything that ran there: two ticks of /proc/stat short of a second. No fault in itself:
the packet engine takes frames as soon as they come, and fills its CPU at 9,000 as at 50,000 requests/s."""

IDLE_SERVER_SHARE = 0.9
ANSWERED_SHARE = 0.95
"""Replies that stayed out while the server's CPUs had time left and the clients' had none were the clients' to lose."""

LATENESS_P99_MS = 10.0
"""Later starts change what the server sees: at 10,000/s they are a burst of 100, near the paper's backlog of 128."""

DROP_SHARE = 0.001
"""Frames that the generator's own rings or the receive backlog lost, as a share of all frames received or sent."""

IDLE_SHARE = 0.999
"""The idle population must stand through the window."""

STEAL_SHARE = 0.02
"""Time that the hypervisor took from all CPUs."""

THROTTLED_SHARE = 0.01
"""Of the window, in which a quota kept programs from CPUs that were free: more moves every rate by more than noise."""

SOCKETS_SHARE = 0.01
"""TCP sockets of the point before that were still closing at the start, as a share of the frames a second of this one.
Each sends a frame about once a second, ever more rarely, to nobody."""

CHANGE_LATE_MS = 10.0
"""A change of the timeline that came later than declared."""

VERY_LATE_SHARE = 0.01
"""Frames that left their access link more than 10 ms after their time: the limit of late starts, for frames."""

FOREIGN_SHARE = 0.05
"""Time that other programs took of the server's CPUs."""

# Recorded and not judged: ``pressure_share`` and ``server_run_delay_share``, because under overload the clients wait
# for each other, and the server for the soft interrupts of its own packets, at every good point; ``paths`` and
# ``bridge_netfilter``, because they are the same for all points of a run.


@dataclass(frozen=True)
class Judgement:
    """A verdict with one line for each rule that did not hold."""

    verdict: Verdict
    reasons: tuple[str, ...]


def judge(evidence: Mapping[str, Any]) -> Judgement:
    """Judge a point by the evidence of ``engine/recording.py``."""
    findings = [*_load(evidence), *_population(evidence), *_machine(evidence), *_links(evidence), *_access(evidence)]
    worst = max((verdict for verdict, _ in findings), key=_ORDER.index, default=Verdict.VALID)
    return Judgement(worst, tuple(reason for _, reason in findings))


def _load(evidence: Mapping[str, Any]) -> list[tuple[Verdict, str]]:
    findings = []
    if evidence["clients_ready_late"]:
        findings.append(
            (Verdict.INVALID, f"{evidence['clients_ready_late']} clients were not ready at the common start")
        )
    share = evidence["sent_share"]
    if share < SENT_SHARE:
        findings.append((Verdict.CLIENT_LIMITED, f"the clients sent {share:.1%} of what was offered"))
    lateness = evidence["lateness_p99_ms"]
    if lateness is not None and lateness > LATENESS_P99_MS:
        findings.append((Verdict.CLIENT_LIMITED, f"1 % of requests started more than {lateness:.1f} ms late"))
    busy, server_busy = evidence["client_cpu_busy_share"], evidence["server_cpu_busy_share"]
    if busy >= BUSY_SHARE and server_busy < IDLE_SERVER_SHARE and evidence["answered_share"] < ANSWERED_SHARE:
        what = f"the clients' CPUs were {busy:.1%} busy, the server's {server_busy:.1%}"
        findings.append((Verdict.CLIENT_LIMITED, f"{what}, and replies stayed out"))
    if evidence["generator_drop_share"] > DROP_SHARE:
        dropped = f"{evidence['generator_drop_share']:.2%}"
        findings.append((Verdict.CLIENT_LIMITED, f"the clients lost {dropped} of their frames in their own queues"))
    if evidence["ftab_full"]:
        findings.append(
            (Verdict.CLIENT_LIMITED, f"{evidence['ftab_full']} starts found the client's connection table full")
        )
    if not evidence["replies"]:
        findings.append((Verdict.SUSPECT, "the server gave no reply at all: it may be full of connections"))
    unexpected = evidence["unexpected_errors"]
    if unexpected:
        named = ", ".join(f"{count} {name}" for name, count in sorted(unexpected.items()))
        findings.append((Verdict.SUSPECT, f"errors that overload does not explain: {named}"))
    if evidence["not_understood"]:
        findings.append((Verdict.SUSPECT, f"the clients did not understand {evidence['not_understood']} frames"))
    return findings


def _population(evidence: Mapping[str, Any]) -> list[tuple[Verdict, str]]:
    findings = []
    wanted, least = evidence["idle_wanted"], evidence["idle_minimum"]
    if wanted and least < wanted * IDLE_SHARE:
        findings.append((Verdict.INVALID, f"only {least} of {wanted} idle connections stood through the window"))
    declared, allowed = evidence["max_connections_wanted"], evidence["max_connections"]
    if allowed is not None and allowed < declared:
        what = f"the server took at most {allowed} connections, not the scenario's {declared}"
        findings.append((Verdict.SUSPECT, f"{what}: its limit of open descriptors is too low"))
    if evidence["sockets_before"] > SOCKETS_SHARE * evidence["frames"] / evidence["window_s"]:
        what = f"{evidence['sockets_before']} sockets of what ran before were still closing"
        findings.append((Verdict.SUSPECT, what))
    return findings


def _links(evidence: Mapping[str, Any]) -> list[tuple[Verdict, str]]:
    findings = []
    for change in evidence["timeline"]:
        if change["error"] is not None:
            findings.append((Verdict.INVALID, f"`{change['change']}` was not made: {change['error']}"))
        elif change["late_ms"] > CHANGE_LATE_MS:
            findings.append((Verdict.SUSPECT, f"`{change['change']}` came {change['late_ms']:.1f} ms late"))
    if evidence["carrier_changes"]:
        what = "a link of the server went down or came up, and no timeline says so"
        findings.append((Verdict.INVALID, f"{what} ({evidence['carrier_changes']:+d} changes of carrier)"))
    return [*findings, *((Verdict.INVALID, reason) for reason in evidence["timeline_links_off"])]


def _access(evidence: Mapping[str, Any]) -> list[tuple[Verdict, str]]:
    links = evidence["access"]
    if links is None:
        return []
    if not links["frames"]:
        return [(Verdict.INVALID, "the clients' hosts ran without their access links")]
    findings = []
    if links["no_room"] > DROP_SHARE * links["frames"]:
        findings.append((Verdict.CLIENT_LIMITED, f"{links['no_room']} frames found no room on their access links"))
    if links["very_late_share"] > VERY_LATE_SHARE:
        share = f"{links['very_late_share']:.1%}"
        findings.append((Verdict.SUSPECT, f"{share} of the frames left their access links more than 10 ms late"))
    return findings


def _machine(evidence: Mapping[str, Any]) -> list[tuple[Verdict, str]]:
    findings = []
    if evidence["steal_share"] > STEAL_SHARE:
        findings.append((Verdict.SUSPECT, f"the hypervisor took {evidence['steal_share']:.1%} of the CPU time"))
    foreign = evidence["foreign_share"]
    if foreign is None:
        findings.append((Verdict.SUSPECT, "server and clients share a CPU"))
    elif foreign > FOREIGN_SHARE:
        findings.append((Verdict.SUSPECT, f"other programs took {foreign:.0%} of the server's CPU time"))
    throttled = evidence["throttled_share"]
    if throttled is not None and throttled > THROTTLED_SHARE:
        findings.append((Verdict.SUSPECT, f"a CPU quota stopped all programs for {throttled:.1%} of the time"))
    if evidence["softnet_drops"] > DROP_SHARE * evidence["frames"]:
        findings.append((Verdict.SUSPECT, f"the kernel's receive backlog dropped {evidence['softnet_drops']} frames"))
    return findings
