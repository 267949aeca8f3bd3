"""Accept limits from 1 to all: what the paper says "warrants further study"."""

from testbed import PROFILES, OneByte, Scenario, Userver, paper_claims

SCENARIO = Scenario(
    name="accept_sweep",
    title="Accept sweep: one-byte workload, no idle connections",
    sentence="How many connections to take per event is a choice of its own, for select and for epoll.",
    servers=tuple(
        Userver(mechanism=name, accept_limit=limit)
        for name in ("select", "epoll-lt", "epoll-et")
        for limit in (1, 10, 100, None)
    ),
    workload=OneByte(),
    profiles={
        **PROFILES,
        "quick": PROFILES["quick"].model_copy(update={"rates_per_s": (10_000, 20_000)}),
    },
    figures=("accept_limit", "reply_rate"),
    claims=paper_claims.ACCEPT_SWEEP,
)
