"""Sweep order: complete, shuffled within repetitions, the same for the same seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from testbed.engine.sweep import estimate_s, point_seed, points
from testbed.model.scenario import Profile
from tests.unit.records import SCENARIO

PROFILE = Profile(rates_per_s=(1000, 2000, 3000), repetitions=4)
PAIRS = len(PROFILE.rates_per_s) * len(SCENARIO.servers)


@given(seed=st.integers(0, 2**31))
def test_every_repetition_holds_every_pair_once(seed: int) -> None:
    ordered = points(SCENARIO, PROFILE, seed)
    assert Counter(p.key for p in ordered).most_common(1)[0][1] == 1
    for repetition in range(PROFILE.repetitions):
        block = ordered[repetition * PAIRS : (repetition + 1) * PAIRS]
        assert len({(p.server.label, p.offered_per_s) for p in block}) == PAIRS
        assert {p.repetition for p in block} == {repetition + 1}


def test_the_order_follows_the_seed() -> None:
    assert points(SCENARIO, PROFILE, 1) == points(SCENARIO, PROFILE, 1)
    assert points(SCENARIO, PROFILE, 1) != points(SCENARIO, PROFILE, 2)


def test_all_servers_face_the_same_arrivals_at_one_rate_and_others_at_another() -> None:
    seeds = {(p.offered_per_s, p.repetition): set() for p in points(SCENARIO, PROFILE, 1)}  # type: dict[tuple[float, int], set[int]]
    for point in points(SCENARIO, PROFILE, 1):
        seeds[point.offered_per_s, point.repetition].add(point_seed(1, point))
    assert all(len(each) == 1 for each in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


def test_the_estimate_grows_with_points_and_idle_connections() -> None:
    idle = SCENARIO.model_copy(update={"idle_connections": 10_000})
    assert estimate_s(SCENARIO, PROFILE, 10) == 10 * estimate_s(SCENARIO, PROFILE, 1)
    assert estimate_s(idle, PROFILE, 1) > estimate_s(SCENARIO, PROFILE, 1)
