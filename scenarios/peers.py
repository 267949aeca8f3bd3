"""nginx and lighttpd under the load of Figure 1, alone and beside idle connections, next to epoll-lt of the µserver."""

from pathlib import Path

from testbed import PROFILES, OneByte, Scenario, ServerImage, mechanisms, paper_claims

IMAGES = Path(__file__).resolve().parents[1] / "images" / "peers"

SCENARIO = Scenario(
    name="peers",
    title="Other people's servers: one-byte workload",
    sentence="Servers built on epoll do not mind idle connections, whatever else they do per request.",
    servers=(
        *mechanisms("epoll-lt"),
        ServerImage(
            name="nginx",
            dockerfile_folder=IMAGES / "nginx",
            command=("nginx", "-c", "/etc/testbed/nginx.conf"),
            ready_path="/1.bin",
        ),
        ServerImage(
            name="lighttpd",
            dockerfile_folder=IMAGES / "lighttpd",
            command=("lighttpd", "-D", "-f", "/etc/testbed/lighttpd.conf"),
            ready_path="/1.bin",
        ),
    ),
    workload=OneByte(),
    idle_connections=(0, paper_claims.PEERS_IDLE_CONNECTIONS),
    profiles={
        **PROFILES,
        "quick": PROFILES["quick"].model_copy(update={"rates_per_s": (5_000, 10_000, 20_000)}),
    },
    figures=("reply_rate", "percentiles"),
    claims=paper_claims.PEERS,
)
