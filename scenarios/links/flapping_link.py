"""The server's link on one network loses packets, then goes down and up three times, half a second each."""

from testbed import TIMELINE_PROFILES, OneByte, Scenario, at, mechanisms

SCENARIO = Scenario(
    name="flapping_link",
    title="A lossy, then flapping link of the server: one-byte workload",
    sentence="A flap costs its network's requests, and sometimes a second more until the server finds its neighbours.",
    servers=mechanisms("select", "epoll-lt"),
    workload=OneByte(),
    timeline=(
        at(2, "server/net0", "down: loss 2%"),
        at(4, "server/net0", "declared"),
        *(at(5 + 2 * flap, "server/net0", "down") for flap in range(3)),
        *(at(5.5 + 2 * flap, "server/net0", "up") for flap in range(3)),
    ),
    profiles=TIMELINE_PROFILES,
    figures=("timeline",),
)
