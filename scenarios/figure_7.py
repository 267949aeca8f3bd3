"""Figure 7: the accept limit tuned for epoll, on the one-byte workload without idle connections."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

SCENARIO = Scenario(
    name="figure_7",
    title="Figure 7: one-byte workload, accept limits, no idle connections",
    sentence="An accept limit of 10 brings level-triggered epoll up to select, and epoll-ctlv beyond.",
    servers=paper.TUNED,
    workload=OneByte(),
    profiles=PROFILES,
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_7,
)
