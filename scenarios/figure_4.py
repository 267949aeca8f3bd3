"""Figure 4: ways to spare epoll_ctl calls, on the SPECweb99-like workload without idle connections."""

from testbed import SPECWEB99_PROFILES, Scenario, SpecWeb99, paper, paper_claims

SCENARIO = Scenario(
    name="figure_4",
    title="Figure 4: SPECweb99-like workload, no idle connections",
    sentence="All techniques do alike, with a slight advantage of edge-triggered epoll past saturation.",
    servers=paper.VARIANTS,
    workload=SpecWeb99(),
    profiles=SPECWEB99_PROFILES,
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_4,
)
