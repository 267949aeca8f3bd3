"""The three named profiles that the paper's scenarios share. A scenario may have others of its own."""

from __future__ import annotations

from collections.abc import Mapping

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

WAN_PROFILES = {
    "quick": QUICK.model_copy(
        update={"rates_per_s": (5_000, 10_000, 15_000), "warm_up_s": 1.5, "window_s": 2, "client_timeout_s": 4}
    ),
    "laptop": LAPTOP.model_copy(update={"warm_up_s": 3, "client_timeout_s": 6}),
    "paper": PAPER,
}
"""For access links: the warm-up lets slow connections gather, and the time-out leaves room for a lost SYN."""


def _with_file_sets(profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """57 directories, SPECweb99's size for 50 connections (278 MiB); 8 of them (39 MiB) where it must be quick."""
    sizes = {name: 8 if name == "quick" else 57 for name in profiles}
    return {
        name: profile.model_copy(update={"workload": {"directories": sizes[name]}})
        for name, profile in profiles.items()
    }


SPECWEB99_PROFILES = _with_file_sets(
    {**PROFILES, "quick": QUICK.model_copy(update={"rates_per_s": (10_000, 20_000, 30_000, 35_000)})}
)
"""For the SPECweb99-like workload. A request in a session costs less than one with a connection of its own: the quick
profile's rates reach as far beyond the knee."""

SPECWEB99_WAN_PROFILES = _with_file_sets(
    {
        **WAN_PROFILES,
        "quick": WAN_PROFILES["quick"].model_copy(update={"rates_per_s": (3_000, 6_000), "warm_up_s": 5}),
        "laptop": WAN_PROFILES["laptop"].model_copy(update={"warm_up_s": 6}),
    }
)
"""The same over access links. A session takes more than a second there, and some take five: the warm-up is longer."""

_TIMELINE = Profile(rates_per_s=(4_000,), warm_up_s=1, window_s=11, client_timeout_s=1)
TIMELINE_PROFILES = {
    "quick": _TIMELINE,
    "laptop": _TIMELINE.model_copy(update={"repetitions": 3}),
    "paper": _TIMELINE.model_copy(update={"repetitions": 10, "cool_down_s": 120}),
}
"""For links that change in the first ten seconds: a rate within capacity, so that only the links move the replies."""
