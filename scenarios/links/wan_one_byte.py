"""The paper's open question, one-byte workload: are idle connections a fair stand-in for slow ones?

Every client's host is behind 40 ms ± 10 ms with 1 % loss, each way. The server then holds a one-byte connection for
0.1 s in the mean, a round trip and what is lost: 500 at 5,000/s. Beside each point stand one with as many idle
connections on fast links, and one with none. They are as many while the server keeps up: one that falls behind gathers
slow connections, and the claims are about rates within capacity.
"""

from testbed import WAN_PROFILES, OneByte, Scenario, paper, paper_claims

SCENARIO = Scenario(
    name="wan_one_byte",
    title="WAN: one-byte workload, 40 ms ± 10 ms and 1 % loss each way, against idle connections instead",
    sentence="Slow connections and as many idle ones cost a mechanism the same: idle connections are a fair stand-in.",
    servers=paper.ALL,
    workload=OneByte(),
    access={"delay 40ms, jitter 10ms, loss 1%": 1},
    idle_stand_ins_s=(0, 0.1),
    profiles=WAN_PROFILES,
    figures=("concurrent", "reply_rate"),
    claims=paper_claims.WAN,
)
