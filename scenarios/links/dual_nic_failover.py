"""One of the server's two networks fails in mid-run: what the clients on the other one notice."""

from testbed import TIMELINE_PROFILES, OneByte, Scenario, at, mechanisms

SCENARIO = Scenario(
    name="dual_nic_failover",
    title="One of two networks down from 3 s to 6 s: one-byte workload",
    sentence="The clients on the other network do not notice; those on the failed one are back when it is.",
    servers=mechanisms("select", "epoll-lt"),
    workload=OneByte(),
    timeline=(
        at(3, "net1", "down"),
        at(6, "net1", "up"),
    ),
    profiles=TIMELINE_PROFILES,
    figures=("timeline",),
)
