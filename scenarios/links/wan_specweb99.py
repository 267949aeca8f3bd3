"""The paper's open question, SPECweb99-like workload: are idle connections a fair stand-in for slow ones?

As wan_one_byte. The server holds a session of 7.3 requests for 1.4 s in the mean: 575 of them at 3,000 requests/s.
"""

from testbed import SPECWEB99_WAN_PROFILES, Scenario, SpecWeb99, paper, paper_claims

SCENARIO = Scenario(
    name="wan_specweb99",
    title="WAN: SPECweb99-like workload, 40 ms ± 10 ms and 1 % loss each way, against idle connections instead",
    sentence="Slow connections and as many idle ones cost a mechanism the same: idle connections are a fair stand-in.",
    servers=paper.ALL,
    workload=SpecWeb99(),
    access={"delay 40ms, jitter 10ms, loss 1%": 1},
    idle_stand_ins_s=(0, 1.4),
    profiles=SPECWEB99_WAN_PROFILES,
    figures=("concurrent", "reply_rate"),
    claims=paper_claims.WAN,
)
