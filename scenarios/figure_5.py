"""Figure 5: the one-byte workload beside 10,000 idle connections."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

# 9,000/s stands just below the knee that select has beside idle connections.
QUICK = PROFILES["quick"].model_copy(update={"rates_per_s": (5_000, 9_000, 20_000, 30_000)})

SCENARIO = Scenario(
    name="figure_5",
    title="Figure 5: one-byte workload, 10,000 idle connections",
    sentence="10,000 idle connections cost select and poll up to 79 % of their throughput, and epoll hardly anything.",
    servers=paper.ALL,
    workload=OneByte(),
    idle_connections=paper.IDLE_CONNECTIONS,
    profiles={**PROFILES, "quick": QUICK},
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_5,
)
