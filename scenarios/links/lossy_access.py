"""A population of access links: 60 % DSL, 30 % 4G, 10 % geostationary satellite, losses in bursts on the 4G ones."""

from testbed import WAN_PROFILES, OneByte, Scenario, paper

_4G = "delay 35ms, jitter 10ms, rate 12mbit, limit 248, gemodel 1% 30%"
"""The profile `4g` with a variation of delay and losses in bursts of three packets, 3 % in the long run."""

SCENARIO = Scenario(
    name="lossy_access",
    title="One-byte workload from a population: 60 % DSL, 30 % lossy 4G, 10 % satellite",
    sentence="Slow and lossy hosts keep connections open longer; mechanisms whose cost grows with them suffer.",
    servers=paper.ALL,
    workload=OneByte(),
    access={"dsl": 0.6, _4G: 0.3, "satellite-geo": 0.1},
    profiles=WAN_PROFILES,
    figures=("concurrent", "reply_rate", "percentiles"),
)
