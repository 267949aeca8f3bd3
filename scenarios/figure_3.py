"""Figure 3: ways to spare epoll_ctl calls, on the one-byte workload without idle connections."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

SCENARIO = Scenario(
    name="figure_3",
    title="Figure 3: one-byte workload, no idle connections",
    sentence="Techniques that reduce the number of epoll_ctl calls bring no significant benefit.",
    servers=paper.VARIANTS,
    workload=OneByte(),
    profiles=PROFILES,
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_3,
)
