"""Figure 1: the one-byte workload without idle connections."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

# Below that the three answer everything, and each of their requests costs the same.
QUICK = PROFILES["quick"].model_copy(update={"rates_per_s": (10_000, 20_000, 30_000)})

SCENARIO = Scenario(
    name="figure_1",
    title="Figure 1: one-byte workload, no idle connections",
    sentence="Without idle connections select and poll do as well as level-triggered epoll.",
    servers=paper.BASIC,
    workload=OneByte(),
    profiles={**PROFILES, "quick": QUICK},
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_1,
)
