"""What the paper's scenarios share: which mechanisms it compares, and where its accept limits stand."""

from __future__ import annotations

from testbed.model.server import Userver, mechanisms

BASIC = mechanisms("select", "poll", "epoll-lt")
"""Figures 1 and 2."""

VARIANTS = mechanisms("select", "epoll-lt", "epoll-et", "epoll2", "epoll-ctlv")
"""Figures 3 and 4: poll is left out there "because it is nearly identical to the select line"."""

ALL = mechanisms("select", "poll", "epoll-lt", "epoll-et", "epoll2", "epoll-ctlv")
"""Figures 5 and 6, and Table 1."""

IDLE_CONNECTIONS = 10_000
"""Figures 5 and 6."""

TUNED = (
    *mechanisms("select", "epoll-lt", "epoll-ctlv"),
    Userver(mechanism="epoll-lt", accept_limit=10),
    Userver(mechanism="epoll-ctlv", accept_limit=10),
)
"""Figure 7: the paper found 10 to be the best limit for both."""

PROFILED_RATE_PER_S = 22_000
"""Table 1."""

PROFILED = tuple(server.model_copy(update={"profile": True}) for server in ALL)
"""Table 1: every call of the server is timed."""
