"""Turns what was observed at one point into its record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from testbed.engine.measured import HostSample, cpus_of, window_evidence
from testbed.engine.program import Line
from testbed.engine.sweep import Point
from testbed.engine.under_test.base import Usage
from testbed.engine.verdict import judge
from testbed.model.access import access_text
from testbed.model.histogram import Histogram
from testbed.model.intervals import Intervals
from testbed.model.record import Errors, Quantiles, Record
from testbed.model.scenario import Scenario
from testbed.model.shape import DIRECTIONS
from testbed.runtime.base import Paths

_NS_PER_MS = 1e6
_OVERLOAD_ERRORS = ("client_timo", "socket_timo", "connrefused", "connreset", "ftab_full")
"""Classes that an overloaded server produces (ftab_full has a rule of its own)."""


@dataclass(frozen=True)
class Bracket:
    """Readings at one edge of the window: the machine's, and the server's."""

    host: HostSample
    server: Usage


@dataclass(frozen=True)
class Observation:
    """All that a point left behind. ``clients`` and ``idles`` are summaries; ``server`` is the server's, and
    ``server_ready`` what it said of itself at its start. ``sockets_before`` and ``sockets_left`` are TCP sockets in the
    server's network that were still closing at the point's start and after its cool-down.

    ``changes`` are the outcomes of the timeline, ``links_off`` what is not as it left it, one line each;
    ``carrier_changes`` counts how often a link of the server went down or came up without the timeline.
    """

    before: Bracket
    after: Bracket
    clients: tuple[Line, ...]
    clients_ready_late: int
    idles: tuple[Line, ...]
    server_ready: Line
    server: Line
    server_cpuset: str | None
    client_cpuset: str | None
    paths: Paths
    bridge_netfilter: bool | None
    sockets_before: int
    sockets_left: int
    drained_s: float
    intervals: Intervals
    changes: tuple[dict[str, Any], ...]
    links_off: tuple[str, ...]
    carrier_changes: int


def record_of(scenario: Scenario, point: Point, seen: Observation) -> Record:
    """The record of a point: rates and errors over the window, response times, cost, evidence, verdict."""
    windows = [line["window"] for line in seen.clients]
    errors = Errors(**{name: sum(window["errors"][name] for window in windows) for name in Errors.model_fields})
    response = Histogram.merged(window["response_ns"] for window in windows)
    evidence = _evidence(scenario, point, seen, errors)
    judgement = judge(evidence)
    return Record(
        point=point.key,
        label=point.server.label,
        server=point.server.model_dump(),
        **point.server.columns,
        workload=scenario.workload.name,
        offered_per_s=point.offered_per_s,
        repetition=point.repetition,
        sent_per_s=sum(window["requests_wanted"] / window["seconds"] for window in windows),
        requests_per_s=sum(window["requests"] / window["seconds"] for window in windows),
        replies_per_s=sum(window["replies_per_s"] for window in windows),
        errors=errors,
        response_ms=Quantiles(
            p50=_ms(response.quantile(0.5)),
            p90=_ms(response.quantile(0.9)),
            p99=_ms(response.quantile(0.99)),
            max=_ms(response.max) if response.count else None,
        ),
        server_cpu_us_per_reply=evidence["server_cpu_us_per_reply"],
        idle_connections=point.idle_connections,
        idle_connections_minimum=evidence["idle_minimum"],
        access=access_text(scenario.access) if point.access else "",
        open_connections_mean=sum(window["open_mean"] for window in windows),
        open_connections_max=sum(window["open_max"] for window in windows),
        established_connections_mean=sum(window["established_mean"] for window in windows),
        established_connections_max=sum(window["established_max"] for window in windows),
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        evidence=evidence,
        intervals=seen.intervals,
        raw={
            "clients": list(seen.clients),
            "idles": list(seen.idles),
            "server_ready": seen.server_ready,
            "server": seen.server,
            "server_before": seen.before.server.counters,
            "server_after": seen.after.server.counters,
        },
    )


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NS_PER_MS


def _served(seen: Observation) -> int:
    """Replies between the two readings: by the server's own count, which knows just those; else by the clients'."""
    if "replies" in seen.after.server.counters:
        return int(seen.after.server.counters["replies"] - seen.before.server.counters["replies"])
    return sum(int(line["window"]["replies"]) for line in seen.clients)


def _run_delay_share(before: Line, after: Line, seconds: float) -> float | None:
    """For which part of the time a program that counts it stood ready and had no CPU; None for others."""
    if "run_delay_us" not in before or "run_delay_us" not in after:
        return None
    return float(after["run_delay_us"] - before["run_delay_us"]) / 1e6 / seconds


def _access_evidence(seen: Observation) -> dict[str, float]:
    """What the clients say of their hosts' own links, over the whole run of each; without any, all is 0."""
    links = [line["engine_counters"]["links"] for line in seen.clients if "links" in line["engine_counters"]]
    totals = {
        name: sum(link[direction][name] for link in links for direction in DIRECTIONS)
        for name in ("frames", "lost", "overflowed", "duplicated", "corrupted", "no_room")
    }
    frames = max(1, totals["frames"])
    return {
        **totals,
        "clients": len(links),
        "held_max": max((link["held_max"] for link in links), default=0),
        "late_share": sum(link["late"] for link in links) / frames,
        "very_late_share": sum(link["very_late"] for link in links) / frames,
        "late_max_ms": max((link["late_max_us"] for link in links), default=0) / 1e3,
    }


def _evidence(scenario: Scenario, point: Point, seen: Observation, errors: Errors) -> dict[str, Any]:
    windows = [line["window"] for line in seen.clients]
    counters = [line["engine_counters"] for line in (*seen.clients, *seen.idles)]
    lateness = Histogram.merged(window["lateness_ns"] for window in windows)
    intended = sum(window["intended"] for window in windows)
    sent = sum(window["sent_per_s"] * window["seconds"] for window in windows)
    wanted = sum(window["requests_wanted"] for window in windows)
    frames = sum(counter["frames_sent"] + counter["frames_received"] for counter in counters)
    drops = sum(counter["ring_drops"] + counter["send_drops"] for counter in counters)
    server_cpu_us = seen.after.server.cpu_us - seen.before.server.cpu_us
    served = _served(seen)
    client_cpus = cpus_of(seen.client_cpuset)
    generator_cpus = sum(window["cpu_us"] / 1e6 / window["seconds"] for window in windows)
    before, after = seen.before.server.counters, seen.after.server.counters
    host = window_evidence(
        seen.before.host,
        seen.after.host,
        cpus_of(seen.server_cpuset),
        client_cpus,
        server_cpu_us / 1e6,
    )
    return {
        **host,
        "clients_ready_late": seen.clients_ready_late,
        # Against what the arrival process intended in this window: random arrivals scatter around the offered rate.
        "sent_share": sent / intended if intended else 1.0,
        "answered_share": sum(window["replies"] for window in windows) / wanted if wanted else 1.0,
        "lateness_p99_ms": _ms(lateness.quantile(0.99)),
        "lateness_max_ms": _ms(lateness.max) if lateness.count else None,
        "max_burst": max((window["max_burst"] for window in windows), default=0),
        "generator_cpu_share": generator_cpus / len(client_cpus),
        "generator_drop_share": drops / frames if frames else 0.0,
        "frames": frames,
        "not_understood": sum(counter["not_understood"] for counter in counters),
        "ftab_full": errors.ftab_full,
        "unexpected_errors": {
            name: count for name, count in errors.model_dump().items() if count and name not in _OVERLOAD_ERRORS
        },
        "idle_wanted": point.idle_connections,
        "idle_minimum": sum(int(line["minimum_established"]) for line in seen.idles),
        "replies": served,
        "server_cpu_us_per_reply": server_cpu_us / served if served else None,
        "server_run_delay_share": _run_delay_share(before, after, host["window_s"]),
        "max_connections_wanted": scenario.max_connections,
        "max_connections": seen.server_ready.get("max_connections"),
        "sockets_before": seen.sockets_before,
        "sockets_left": seen.sockets_left,
        "drained_s": seen.drained_s,
        "paths": asdict(seen.paths),
        "bridge_netfilter": seen.bridge_netfilter,
        "access": _access_evidence(seen) if point.access else None,
        "timeline": list(seen.changes),
        "timeline_links_off": list(seen.links_off),
        "carrier_changes": seen.carrier_changes,
    }
