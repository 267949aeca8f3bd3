"""Figure 1: the one-byte workload without idle connections."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

SCENARIO = Scenario(
    name="figure_1",
    title="Figure 1: one-byte workload, no idle connections",
    sentence="Without idle connections select and poll do as well as level-triggered epoll.",
    servers=paper.BASIC,
    workload=OneByte(),
    profiles=PROFILES,
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_1,
)
