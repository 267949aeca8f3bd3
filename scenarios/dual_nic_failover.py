"""One of the server's two networks fails in mid-run: what the clients on the other one notice."""

from testbed import OneByte, Profile, Scenario, at, mechanisms

BRIEF = Profile(rates_per_s=(4_000,), warm_up_s=1, window_s=8, client_timeout_s=1)

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
    profiles={
        "quick": BRIEF,
        "laptop": BRIEF.model_copy(update={"repetitions": 3}),
        "paper": BRIEF.model_copy(update={"repetitions": 10, "cool_down_s": 120}),
    },
    figures=("timeline",),
)
