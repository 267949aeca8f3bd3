"""What the fast path gains: the same overload with it and without it, alternating."""

from __future__ import annotations

from statistics import median

from testbed.engine.lab import Lab
from testbed.engine.point import observe
from testbed.engine.recording import record_of
from testbed.engine.sweep import Point
from testbed.engine.under_test.base import KINDS
from testbed.model.record import Record
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import mechanisms
from testbed.workload.one_byte import OneByte
from tests.benchmark.outcome import Outcome

_PAIRS = 3
_RATE = 30_000
_PROFILE = Profile(rates_per_s=(_RATE,), window_s=2)
_SCENARIO = Scenario(
    name="fast_path",
    title="The fast path",
    sentence="It gains.",
    servers=mechanisms("epoll-lt"),
    workload=OneByte(),
    profiles={"quick": _PROFILE},
)


def main() -> list[Outcome]:
    """Two labs stand side by side; on, off, on, off …"""
    rates: dict[bool, list[float]] = {True: [], False: []}
    with Lab(name="bench-fast", fast=True) as fast, Lab(name="bench-plain", fast=False) as plain:
        for lab in (fast, plain):
            KINDS.get("userver").prepare(lab, _SCENARIO, _SCENARIO.servers)
        for index in range(_PAIRS):
            for lab in (fast, plain):
                record = _measure(lab, index)
                rates[lab is fast].append(record.replies_per_s)
                reasons = "; ".join(record.reasons)
                print(
                    f"{lab.name}: {record.replies_per_s:,.0f} replies/s ({record.verdict.value} {reasons})", flush=True
                )
    ratio = median(on / off for on, off in zip(rates[True], rates[False], strict=True))
    return [Outcome(f"fast path on ÷ off, replies/s at {_RATE:,}/s offered", ratio, "×", 1.3)]


def _measure(lab: Lab, index: int) -> Record:
    point = Point(_SCENARIO.servers[0], _RATE, 0, index + 1)
    return record_of(_SCENARIO, point, observe(lab, _SCENARIO, _PROFILE, point, seed=1))
