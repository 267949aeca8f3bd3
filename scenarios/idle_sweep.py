"""What an idle connection costs each mechanism, from none to 15,000.

With the active ones and its own files the server stays below 20,000 descriptors, the limit of many container engines.
"""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

# A low rate: a server that is never done with its set shows no more than all of its CPU time, divided by its replies.
RATE = {"rates_per_s": (1_000,)}

SCENARIO = Scenario(
    name="idle_sweep",
    title="Idle sweep: one-byte workload at 1,000 requests/s",
    sentence="The cost of a reply grows with every idle connection under select, poll and epoll2, and not under epoll.",
    servers=paper.ALL,
    workload=OneByte(),
    idle_connections=(0, 100, 1_000, 5_000, 15_000),
    max_connections=19_000,
    profiles={name: profile.model_copy(update=RATE) for name, profile in PROFILES.items()},
    figures=("idle_sweep",),
    claims=paper_claims.IDLE_SWEEP,
)
