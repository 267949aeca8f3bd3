"""Figure 6: the SPECweb99-like workload beside 10,000 idle connections."""

from testbed import SPECWEB99_PROFILES, Scenario, SpecWeb99, paper, paper_claims

SCENARIO = Scenario(
    name="figure_6",
    title="Figure 6: SPECweb99-like workload, 10,000 idle connections",
    sentence="Idle connections hit each mechanism on larger files as they do on one byte.",
    servers=paper.ALL,
    workload=SpecWeb99(),
    idle_connections=paper.IDLE_CONNECTIONS,
    profiles=SPECWEB99_PROFILES,
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.FIGURE_6,
)
