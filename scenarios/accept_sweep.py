"""Accept limits from 1 to all: what the paper says "warrants further study"."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

# One rate, at overload: so much can be had of 24 servers in a minute.
QUICK = PROFILES["quick"].model_copy(update={"rates_per_s": (30_000,)})

SCENARIO = Scenario(
    name="accept_sweep",
    title="Accept sweep: one-byte workload, no idle connections",
    sentence="How many connections to take per event is a choice of its own, for each mechanism.",
    servers=tuple(
        server.model_copy(update={"accept_limit": limit}) for server in paper.ALL for limit in (1, 10, 100, None)
    ),
    workload=OneByte(),
    profiles={**PROFILES, "quick": QUICK},
    figures=("accept_limit", "reply_rate"),
    claims=paper_claims.ACCEPT_SWEEP,
)
