"""What an idle connection costs each mechanism, from none to what the descriptor limit allows."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

SCENARIO = Scenario(
    name="idle_sweep",
    title="Idle sweep: one-byte workload at 5,000 requests/s",
    sentence="The cost of a reply grows with every idle connection under select, poll and epoll2, and not under epoll.",
    servers=paper.ALL,
    workload=OneByte(),
    idle_connections=(0, 100, 1_000, 5_000, 15_000),
    max_connections=19_000,
    profiles={name: profile.model_copy(update={"rates_per_s": (5_000,)}) for name, profile in PROFILES.items()},
    figures=("idle_sweep",),
    claims=paper_claims.IDLE_SWEEP,
)
