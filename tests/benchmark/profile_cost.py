"""What ``userver --profile`` costs: CPU time per reply with it and without it, alternating."""

from __future__ import annotations

from statistics import median

from testbed.engine.lab import Lab
from testbed.engine.point import observe
from testbed.engine.recording import record_of
from testbed.engine.sweep import Point
from testbed.engine.under_test.base import KINDS
from testbed.model.profiles import PROFILES
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Userver
from testbed.workload.one_byte import OneByte
from tests.benchmark.outcome import Outcome

_PAIRS = 4
_RATE = 8_000.0
_PROFILE = Profile(rates_per_s=(_RATE,), window_s=2)


def main() -> list[Outcome]:
    """On, off, on, off …, at a rate that the server carries either way."""
    plain = Userver(mechanism="epoll-lt")
    profiled = plain.model_copy(update={"profile": True})
    scenario = Scenario(
        name="profile_cost",
        title="The cost of --profile",
        sentence="Small.",
        servers=(plain,),
        workload=OneByte(),
        profiles=PROFILES,
    )
    costs: dict[bool, list[float]] = {True: [], False: []}
    with Lab(name="bench-profile") as lab:
        KINDS.get("userver").prepare(lab, scenario, scenario.servers)
        for turn in range(_PAIRS):
            for server in (profiled, plain):
                point = Point(server, _RATE, 0, turn + 1)
                record = record_of(scenario, point, observe(lab, scenario, _PROFILE, point, seed=1))
                costs[server.profile].append(float(record.server_cpu_us_per_reply or 0))
                print(f"profile {server.profile}: {costs[server.profile][-1]:.2f} µs/reply", flush=True)
    ratio = median(on / off for on, off in zip(costs[True], costs[False], strict=True))
    return [Outcome("CPU per reply, --profile ÷ plain", ratio, "×", 1.10, at_least=False)]
