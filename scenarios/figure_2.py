"""Figure 2: the SPECweb99-like workload without idle connections."""

from testbed import SPECWEB99_PROFILES, Scenario, SpecWeb99, paper, paper_claims

SCENARIO = Scenario(
    name="figure_2",
    title="Figure 2: SPECweb99-like workload, no idle connections",
    sentence="Larger files hide the event mechanism: select, poll and level-triggered epoll do alike.",
    servers=paper.BASIC,
    workload=SpecWeb99(),
    profiles=SPECWEB99_PROFILES,
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_2,
)
