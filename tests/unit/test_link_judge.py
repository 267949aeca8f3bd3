"""Verdicts on links from made-up trains: what is allowed passes, what is off is named by how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.link.judge import Expected, judge, received_rate, summarise
from testbed.link.probing import Effort, spaced_plan
from testbed.link.train import Train, TrainPlan
from testbed.model.link_report import LinkVerdict
from testbed.model.shape import GilbertElliott, Shape

BASE_US = 40.0
RANDOM = np.random.default_rng(1)


def train(delays_us: np.ndarray[tuple[int], np.dtype[np.float64]], *, lost: int = 0, corrupted: int = 0) -> Train:
    """Probes with these delays on top of the probes' own; the first ``lost`` ones never arrived."""
    count = len(delays_us)
    sent_us = np.arange(count) * 1000.0
    arrived = (sent_us + delays_us + BASE_US)[lost:]
    order = np.argsort(arrived)
    return Train(
        plan=TrainPlan(count=count, interval_us=1000),
        sent=count,
        sequence=np.arange(count)[lost:][order],
        delay_us=(delays_us + BASE_US)[lost:][order],
        arrived_us=arrived[order],
        corrupted=corrupted,
        dropped=0,
        sending_s=count / 1000,
    )


def constant(delay_us: float, count: int = 500) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.full(count, delay_us) + RANDOM.normal(0, 5, count)


def verdict(shape: Shape, seen: Train, flood: Train | None = None) -> tuple[LinkVerdict, tuple[str, ...]]:
    expected = Expected(Shape(), shape, seen.plan.wire_bits)
    return judge(expected, summarise(seen, train(constant(0, 200)), expected, flood), seen.plan.payload)


def flood(rate_bps: float, offered_bps: float, count: int = 400) -> Train:
    plan = TrainPlan(count=count, interval_us=100, payload=1400)
    arrived = np.arange(count) * plan.wire_bits / rate_bps * 1e6
    sequence = np.arange(count)
    return Train(plan, count, sequence, arrived, arrived, 0, 0, count * plan.wire_bits / offered_bps)


@pytest.mark.parametrize("seen_us", [5_000, 5_150, 4_850])
def test_a_delay_within_its_tolerance(seen_us: float) -> None:
    assert verdict(Shape(delay_us=5_000), train(constant(seen_us))) == ("as declared", ())


@pytest.mark.parametrize("seen_us", [5_400, 4_600])
def test_a_delay_beyond_it_says_by_how_much(seen_us: float) -> None:
    found, why = verdict(Shape(delay_us=5_000), train(constant(seen_us)))
    assert found == "off"
    assert "declared 5ms: off by " in why[0]
    assert "more than allowed" in why[0]


def test_above_ten_milliseconds_two_per_cent_are_allowed() -> None:
    assert verdict(Shape(delay_us=100_000), train(constant(101_900)))[0] == "as declared"
    assert verdict(Shape(delay_us=100_000), train(constant(102_300)))[0] == "off"


def test_the_probes_own_time_is_taken_off() -> None:
    expected = Expected(Shape(), Shape(), 800)
    measured = summarise(train(constant(0)), train(constant(0)), expected, None)
    assert measured.baseline_us == pytest.approx(BASE_US, abs=2)
    assert measured.delay_us == pytest.approx(0, abs=2)


def test_jitter_does_not_hide_a_shifted_median() -> None:
    draws = RANDOM.normal(20_000, 4_000, 2000)
    shape = Shape(delay_us=20_000, jitter_us=4_000, distribution="normal")
    assert verdict(shape, train(draws))[0] == "as declared"
    assert verdict(shape, train(draws + 1_500))[0] == "off"


@pytest.mark.parametrize(("lost", "expected"), [(0, "off"), (10, "as declared"), (19, "as declared"), (60, "off")])
def test_loss_is_judged_by_its_exact_interval(lost: int, expected: str) -> None:
    found, why = verdict(Shape(loss_percent=1), train(constant(0, 1000), lost=lost))
    assert found == expected
    assert all("outside its 99% interval" in text for text in why)


def test_an_unshaped_link_may_lose_nothing() -> None:
    assert verdict(Shape(), train(constant(0, 1000), lost=12))[0] == "off"


def test_bursts_are_fewer_trials_than_packets() -> None:
    model = GilbertElliott(p_percent=1, r_percent=10)
    assert verdict(Shape(gemodel=model), train(constant(0, 2000), lost=110))[0] == "as declared"
    assert verdict(Shape(gemodel=model), train(constant(0, 2000), lost=900))[0] == "off"


def test_a_rate_within_three_per_cent() -> None:
    shape, seen = Shape(rate_bps=10_000_000), train(constant(50))
    assert verdict(shape, seen, flood(9_800_000, 13e6)) == ("as declared", ())
    assert verdict(shape, seen, flood(9_500_000, 13e6)) == (
        "off",
        ("rate 9.5mbit, declared 10mbit: 5.0% less",),
    )
    assert "% more" in verdict(shape, seen, flood(10_500_000, 13e6))[1][0]


def test_a_rate_that_was_not_tried_hard_enough_is_no_verdict() -> None:
    found, why = verdict(Shape(rate_bps=10_000_000), train(constant(50)), flood(8_000_000, 8.1e6))
    assert found == "cannot tell"
    assert "too little to try it" in why[0]


@pytest.mark.parametrize("waits", [(0, 200), (150, 399), (0, 399), (300, 399)])
@pytest.mark.parametrize("rate", [10_000_000, 13_000_000, 7_000_000])
def test_a_receiver_that_waited_for_a_cpu_makes_no_rate_wrong(waits: tuple[int, int], rate: int) -> None:
    """Whatever came in the meantime is stamped late, all at once."""
    shape, seen, prompt = Shape(rate_bps=10_000_000), train(constant(50)), flood(rate, 13e6)
    late_us = prompt.arrived_us.copy()
    late_us[waits[0] : waits[1]] = late_us[waits[1]]
    found, why = verdict(shape, seen, replace(prompt, arrived_us=late_us, delay_us=late_us))
    assert found != "off" if rate == 10_000_000 else found != "as declared", why


def test_a_rate_is_off_though_the_receiver_waited_a_little() -> None:
    prompt = flood(13_000_000, 13e6)
    late_us = prompt.arrived_us.copy()
    late_us[100:110] = late_us[110]
    seen = replace(prompt, arrived_us=late_us, delay_us=late_us)
    found, why = verdict(Shape(rate_bps=10_000_000), train(constant(50)), seen)
    assert found == "off"
    assert "30.0% more" in why[0]


def test_received_rate_leaves_the_filling_of_the_queue_out() -> None:
    plan = TrainPlan(count=100, interval_us=1, payload=1400)
    arrived = np.concatenate((np.zeros(20), np.arange(1, 81) * 1000.0))
    burst = Train(plan, 100, np.arange(100), arrived, arrived, 0, 0, 1.0)
    assert received_rate(burst) == pytest.approx(plan.wire_bits * 1000, rel=1e-6)


def test_both_shapes_of_a_path_count() -> None:
    expected = Expected(Shape(delay_us=3_000, loss_percent=10), Shape(delay_us=4_000, loss_percent=10), 800)
    assert expected.quantile_us(0.5) == 7_000
    assert expected.loss == pytest.approx(19)


def test_probes_suit_the_shape() -> None:
    rare = spaced_plan(Shape(), Shape(loss_percent=0.5), Effort(spaced_s=5))
    assert rare.count == 4000
    slow = spaced_plan(Shape(), Shape(rate_bps=49_000), Effort(spaced_s=2))
    assert slow.wire_bits / slow.interval_us * 1e6 < 49_000 / 2
    assert slow.seconds <= 2
    far = spaced_plan(Shape(delay_us=300_000), Shape(), Effort())
    assert far.linger_s > 0.3


def test_probes_leave_room_for_each_other_where_a_rate_keeps_them_in_order() -> None:
    free = Shape(delay_us=35_000, jitter_us=10_000, distribution="uniform")
    assert spaced_plan(Shape(), free, Effort()).interval_us < 1_000
    ordered = spaced_plan(Shape(), free.model_copy(update={"rate_bps": 12_000_000}), Effort(spaced_s=2))
    assert 19_900 <= ordered.interval_us <= 20_000
    assert ordered.seconds <= 2
