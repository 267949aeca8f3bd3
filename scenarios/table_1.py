"""Table 1: where the server spends its CPU time, call by call, on the one-byte workload at 22,000 requests/s."""

from testbed import PROFILES, OneByte, Scenario, paper, paper_claims

AT = {"rates_per_s": (paper.PROFILED_RATE_PER_S,)}

SCENARIO = Scenario(
    name="table_1",
    title="Table 1: one-byte workload at 22,000 requests/s",
    sentence="select and poll spend about 13 % on events, the epoll techniques 17 to 23 %; read and close cost most.",
    servers=paper.PROFILED,
    workload=OneByte(),
    profiles={
        **{name: profile.model_copy(update=AT) for name, profile in PROFILES.items()},
        "quick": PROFILES["quick"].model_copy(update={**AT, "repetitions": 3}),
    },
    figures=("profile", "profile_table"),
    claims=paper_claims.TABLE_1,
)
