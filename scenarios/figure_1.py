"""Figure 1: the one-byte workload without idle connections."""

from testbed import PROFILES, OneByte, Scenario, mechanisms

SCENARIO = Scenario(
    name="figure_1",
    title="Figure 1: one-byte workload, no idle connections",
    sentence="Without idle connections select and poll do as well as level-triggered epoll.",
    servers=mechanisms("select", "poll", "epoll-lt"),
    workload=OneByte(),
    idle_connections=0,
    profiles=PROFILES,
)
