"""One suite over every link backend that works here, judged by probes that are no part of any backend.

A backend that the kernel lacks is skipped with the kernel's own reason; a shape that a backend refuses is skipped with
its refusal. The machine may be busy: what the probes themselves cost is measured over loopback in the same moment and
taken off, and a rate that this machine cannot offer is no failure but is not counted as shown either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest

from testbed.link.base import AUTO, BACKENDS
from testbed.link.choose import apply, backends_of, read_back, reset
from testbed.link.engine_links import BACKEND as ENGINE
from testbed.link.plans import Effort
from testbed.link.probing import measure_direction
from testbed.link.train import Train, TrainPlan, run_train
from testbed.model.interval import clopper_pearson
from testbed.model.shape import DIRECTIONS, Distribution, GilbertElliott, LinkShape, Shape, jitter_quantile
from testbed.model.shape_profiles import PROFILES
from tests.integration.attempts import holds
from tests.integration.link_measuring import BRIEF, NOTHING, believed
from tests.integration.link_pair import Pair, emulated_pair, pair_of_namespaces
from tests.integration.link_requirements import need_link_programs

SEED = 20


@pytest.fixture(scope="module")
def world() -> Iterator[Pair]:
    need_link_programs()
    with pair_of_namespaces() as pair:
        yield pair


@pytest.fixture(params=[*BACKENDS.names(), ENGINE])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(world: Pair, backend: str) -> Iterator[Pair]:
    """For the packet engine's own links one of its emulated hosts is the near end."""
    chosen = emulated_pair(world) if backend == ENGINE else world
    lack = backends_of(chosen.near)[backend].lack(chosen.near, "down")
    if lack is not None:
        pytest.skip(f"{backend}: {lack}")
    yield chosen
    reset(chosen.near)


def seeded(pair: Pair, backend: str, shape: Shape) -> Shape:
    """With the suite's seed where the backend has seeds: the same packets are lost in every run."""
    with_seed = shape.model_copy(update={"seed": SEED})
    return shape if backends_of(pair.near)[backend].refuse(pair.near, "down", with_seed) else with_seed


def shaped(pair: Pair, backend: str, declared: LinkShape) -> None:
    for direction in DIRECTIONS:
        shape = declared.toward(direction)
        refused = backends_of(pair.near)[backend].refuse(pair.near, direction, shape) if shape.touches else None
        if refused:
            pytest.skip(f"{backend} refuses {refused}")
    apply(pair.near, declared, backend)


@pytest.mark.parametrize(("down_ms", "up_ms"), [(1, 20), (100, 5)])
def test_delay_of_an_asymmetric_pair(pair: Pair, backend: str, down_ms: int, up_ms: int) -> None:
    declared = LinkShape(down=Shape(delay_us=1000 * down_ms), up=Shape(delay_us=1000 * up_ms))
    shaped(pair, backend, declared)
    for direction in DIRECTIONS:
        believed(pair, direction, declared)


def test_both_ends_of_a_path_add_up(pair: Pair, backend: str) -> None:
    first, second = Shape(delay_us=4000), Shape(delay_us=7000)
    if backend == ENGINE:  # what netfilter holds back where the host's packets arrive, the engine has read already
        direction, near, far = DIRECTIONS[1], LinkShape(up=first), LinkShape(down=second)
    else:
        direction, near, far = DIRECTIONS[0], LinkShape(down=first), LinkShape(up=second)
    shaped(pair, backend, near)
    apply(pair.far, far, AUTO if backend == ENGINE else backend)
    try:
        report = believed(pair, direction, near, beside=far)
    finally:
        reset(pair.far)
    assert report.measured.delay_us == pytest.approx(11_000, abs=500)


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_jitter_has_the_declared_distribution(pair: Pair, backend: str, distribution: Distribution) -> None:
    """Against draws from the declared quantiles, with this machine's own noise on top: that of a constant delay."""
    constant = Shape(delay_us=24_000)
    shape = seeded(pair, backend, Shape(delay_us=24_000, jitter_us=6_000, distribution=distribution))
    plan = TrainPlan(count=1000, interval_us=500, settle_ms=100, linger_s=0.3)
    steps = (np.arange(4000) + 0.5) / 4000
    declared = 24_000 + 6_000 * np.asarray([jitter_quantile(distribution, step) for step in steps])

    def complaint() -> str | None:
        shaped(pair, backend, LinkShape(down=constant))
        noise = travel_times(pair, plan) - 24_000
        shaped(pair, backend, LinkShape(down=shape))
        result = ks_2samp(travel_times(pair, plan), declared + np.random.default_rng(1).choice(noise, len(declared)))
        return None if result.pvalue > 0.001 else str(result)

    holds(complaint)


def test_correlated_jitter_follows_the_one_before_and_keeps_its_distribution(pair: Pair, backend: str) -> None:
    shape = seeded(pair, backend, Shape(delay_us=20_000, jitter_us=8_000, correlation_percent=80))
    shaped(pair, backend, LinkShape(down=shape))
    plan = TrainPlan(count=1500, interval_us=500, settle_ms=100, linger_s=0.1)
    # What is bound to the one before is a normal number; its uniform quantiles correlate by 6/pi asin(rho/2).
    declared = 6 / np.pi * np.arcsin(0.4)

    def complaint() -> str | None:
        train = run_train(pair.far.place, pair.near.place, pair.near.address, plan)
        by_sequence = train.delay_us[np.argsort(train.sequence)]
        found = np.corrcoef(by_sequence[:-1], by_sequence[1:])[0, 1]
        thinned = by_sequence[::20] - 20_000
        result = kstest(thinned, lambda values: np.clip((values + 8_000) / 16_000, 0, 1))
        return None if abs(found - declared) < 0.06 and result.pvalue > 0.001 else f"{found}, {result}"

    holds(complaint)


@pytest.mark.parametrize("percent", [0.1, 1, 10])
def test_random_loss(pair: Pair, backend: str, percent: float) -> None:
    declared = LinkShape(down=seeded(pair, backend, Shape(loss_percent=percent)))
    shaped(pair, backend, declared)
    report = believed(pair, "down", declared, effort=Effort(spaced_s=2.0))
    assert report.measured.lost.count > 0


def test_bursts_of_losses_are_as_long_as_declared(pair: Pair, backend: str) -> None:
    model = GilbertElliott(p_percent=1, r_percent=25)
    declared = LinkShape(down=seeded(pair, backend, Shape(gemodel=model)))
    shaped(pair, backend, declared)
    train = run_train(pair.far.place, pair.near.place, pair.near.address, TrainPlan(count=8000, interval_us=200))
    lost = np.ones(train.sent, dtype=bool)
    lost[train.sequence] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost.astype(int), [0]))))
    bursts = edges[1::2] - edges[::2]
    # Each burst ends after a packet with probability r, so 1/r is the mean; the exact interval is that of its ends.
    low, high = clopper_pearson(len(bursts), int(bursts.sum()), 0.999)
    assert low <= 0.25 <= high, (len(bursts), bursts.mean())
    low, high = clopper_pearson(len(bursts), int((~lost).sum()), 0.999)
    assert low <= 0.01 <= high, "share of packets after which a burst begins"


@pytest.mark.parametrize("mbit", [1, 10, 100, 1000])
def test_rate(pair: Pair, backend: str, mbit: int) -> None:
    declared = LinkShape(down=Shape(rate_bps=mbit * 10**6))
    shaped(pair, backend, declared)
    report = believed(pair, "down", declared)
    assert report.measured.rate_bps is not None


def test_different_rates_each_way(pair: Pair, backend: str) -> None:
    declared = LinkShape(down=Shape(rate_bps=20_000_000), up=Shape(rate_bps=2_000_000))
    shaped(pair, backend, declared)
    for direction in DIRECTIONS:
        believed(pair, direction, declared)


def test_jitter_and_a_rate_together(pair: Pair, backend: str) -> None:
    """What the rate keeps in order does not look like a longer delay."""
    shape = Shape(delay_us=15_000, jitter_us=5_000, distribution="uniform", rate_bps=12_000_000)
    declared = LinkShape(down=seeded(pair, backend, shape))
    shaped(pair, backend, declared)
    believed(pair, "down", declared)


def test_no_more_than_the_limit_waits(pair: Pair, backend: str) -> None:
    shaped(pair, backend, LinkShape(down=Shape(rate_bps=10_000_000, limit_pkts=20)))
    plan = TrainPlan(count=200, interval_us=0, payload=1400)
    longest_wait_us = (
        2 * 21 * plan.wire_bits / 10
    )  # twice the limit and the one being sent; all 200 would take ten times it

    def complaint() -> str | None:
        train = run_train(pair.far.place, pair.near.place, pair.near.address, plan)
        arrived, longest = len(train.sequence), train.delay_us.max()
        return None if arrived <= 40 and longest < longest_wait_us else f"{arrived} arrived, {longest} us at most"

    holds(complaint)


def test_duplicates_reordering_and_corruption(pair: Pair, backend: str) -> None:
    shape = Shape(delay_us=5_000, duplicate_percent=5, reorder_percent=3, corrupt_percent=4)
    declared = LinkShape(down=seeded(pair, backend, shape))
    shaped(pair, backend, declared)
    report = believed(pair, "down", declared, effort=Effort(spaced_s=0.6))
    assert report.measured.duplicated.count > 0
    assert report.measured.corrupted.count > 0
    assert report.measured.overtaken > 0


def test_the_same_seed_loses_the_same_packets(pair: Pair, backend: str) -> None:
    shape = Shape(loss_percent=20, seed=3)
    shaped(pair, backend, LinkShape(down=shape))
    first = received_sequences(pair)
    reset(pair.near)
    apply(pair.near, LinkShape(down=shape), backend)
    assert received_sequences(pair) == first
    reset(pair.near)
    apply(pair.near, LinkShape(down=shape.model_copy(update={"seed": 4})), backend)
    assert received_sequences(pair) != first


@pytest.mark.parametrize("name", PROFILES)
def test_every_named_profile_can_be_set_and_is_read_back(world: Pair, name: str) -> None:
    apply(world.near, PROFILES[name].shape)
    try:
        for direction in DIRECTIONS:
            assert read_back(world.near, direction).text() == PROFILES[name].shape.toward(direction).text()
    finally:
        reset(world.near)


def test_an_unshaped_link_is_measured_as_unshaped(pair: Pair) -> None:
    for direction in DIRECTIONS:
        report = believed(pair, direction, NOTHING)
        assert report.backend == "none"
        assert report.measured.lost.count == 0


def test_a_link_that_is_not_as_declared_is_seen_by_how_much(pair: Pair, backend: str) -> None:
    really = Shape(rate_bps=1_000_000) if backend == "tbf" else Shape(delay_us=7_000)
    claimed = Shape(rate_bps=1_250_000) if backend == "tbf" else Shape(delay_us=5_000)
    shaped(pair, backend, LinkShape(down=really))
    by_how_much = r"delay (6\.9|7)\S*ms, declared 5ms: off by [12]\S*ms"
    said = r"declared 1.25mbit: \d+.\d% less$" if backend == "tbf" else by_how_much

    def complaint() -> str | None:
        report = measure_direction(pair.near, pair.far, "down", LinkShape(down=claimed), NOTHING, BRIEF)
        assert report.verdict == "off"
        assert report.deviations[0].startswith("read back")
        return None if re.search(said, report.deviations[-1]) else str(report.deviations)

    holds(complaint)


def travel_times(pair: Pair, plan: TrainPlan) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One-way delays in microseconds with the probes' own share taken off."""
    loopback = run_train(pair.near.place, pair.near.place, "127.0.0.1", TrainPlan(count=200, interval_us=500))
    train = run_train(pair.far.place, pair.near.place, pair.near.address, plan)
    assert len(train.sequence) == plan.count, "nothing may be lost, nor come later than any jitter"
    return np.asarray(train.delay_us - np.median(loopback.delay_us))


def received_sequences(pair: Pair) -> list[int]:
    train: Train = run_train(pair.far.place, pair.near.place, pair.near.address, TrainPlan(count=200, interval_us=300))
    return sorted(int(number) for number in train.sequence)
