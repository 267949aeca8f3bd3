"""The three named profiles that the paper's scenarios share. A scenario may have others of its own."""

from __future__ import annotations

from testbed.model.scenario import Profile

QUICK = Profile(rates_per_s=(5_000, 10_000, 20_000, 30_000), warm_up_s=0.3)
"""About a minute a figure: shapes, not decimals."""

LAPTOP = Profile(
    rates_per_s=tuple(range(3_000, 30_001, 3_000)),
    repetitions=3,
    warm_up_s=1,
    window_s=4,
    client_timeout_s=2,
)
"""About ten minutes a figure, three repetitions in random order."""

PAPER = Profile(
    rates_per_s=tuple(range(2_000, 30_001, 2_000)),
    warm_up_s=5,
    window_s=115,
    client_timeout_s=10,
    cool_down_s=120,
)
"""The paper's own method: 120 s of load a point, 120 s between points. A figure takes hours."""

PROFILES = {"quick": QUICK, "laptop": LAPTOP, "paper": PAPER}

SESSION_PROFILES = {
    **PROFILES,
    "quick": QUICK.model_copy(update={"rates_per_s": (10_000, 15_000, 20_000, 25_000)}),
}
"""For sessions of several requests, which cost less each: the quick profile's rates reach as far beyond the knee."""

WAN_PROFILES = {
    "quick": QUICK.model_copy(
        update={"rates_per_s": (5_000, 10_000, 15_000), "warm_up_s": 1.5, "window_s": 2, "client_timeout_s": 4}
    ),
    "laptop": LAPTOP.model_copy(update={"warm_up_s": 3, "client_timeout_s": 6}),
    "paper": PAPER,
}
"""For access links: the warm-up lets slow connections gather, and the time-out leaves room for a lost SYN."""

_TIMELINE = Profile(rates_per_s=(4_000,), warm_up_s=1, window_s=11, client_timeout_s=1)
TIMELINE_PROFILES = {
    "quick": _TIMELINE,
    "laptop": _TIMELINE.model_copy(update={"repetitions": 3}),
    "paper": _TIMELINE.model_copy(update={"repetitions": 10, "cool_down_s": 120}),
}
"""For links that change in the first ten seconds: a rate within capacity, so that only the links move the replies."""
