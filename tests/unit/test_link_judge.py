"""Verdicts on links from made-up trains: what is allowed passes, what is off is named by how much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import NormalDist
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.link import probing
from testbed.link.base import Endpoint, Place
from testbed.link.foresight import Hop, foresee
from testbed.link.judge import Expected, judge, received_rate, summarise
from testbed.link.plans import Effort, spaced_plans, tolerance_us
from testbed.link.train import Train, TrainPlan
from testbed.model.link_report import LinkReport, LinkVerdict
from testbed.model.shape import GilbertElliott, LinkShape, Shape, jitter_quantile
from testbed.model.shape_profiles import PROFILES
from testbed.model.shape_text import parse_link_text

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
        late_us=np.zeros(count - lost),
        corrupted=corrupted,
        dropped=0,
        sending_s=count / 1000,
    )


def constant(delay_us: float, count: int = 500) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.full(count, delay_us) + RANDOM.normal(0, 5, count)


def verdict(shape: Shape, seen: Train, flood: Train | None = None) -> tuple[LinkVerdict, tuple[str, ...]]:
    expected = Expected(path(shape), seen.plan)
    return judge(expected, summarise([seen], train(constant(0, 200)), expected, flood))


def path(shape: Shape, up: Shape | None = None) -> tuple[Hop, Hop]:
    return Hop.alone(up or Shape()), Hop.alone(shape)


def flood(rate_bps: float, offered_bps: float, count: int = 400) -> Train:
    plan = TrainPlan(count=count, interval_us=100, payload=1400)
    arrived = np.arange(count) * plan.wire_bits / rate_bps * 1e6
    sequence = np.arange(count)
    return Train(
        plan, count, sequence, arrived, arrived, np.zeros(len(arrived)), 0, 0, count * plan.wire_bits / offered_bps
    )


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
    seen = train(constant(0))
    measured = summarise([seen], train(constant(0)), Expected(path(Shape()), seen.plan), None)
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
    assert all("outside its 99.9% interval" in text for text in why)


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
    burst = Train(plan, 100, np.arange(100), arrived, arrived, np.zeros(len(arrived)), 0, 0, 1.0)
    assert received_rate(burst) == pytest.approx(plan.wire_bits * 1000, rel=1e-6)


def test_both_shapes_of_a_path_count() -> None:
    up, down = Shape(delay_us=3_000, loss_percent=10), Shape(delay_us=4_000, loss_percent=10)
    expected = Expected(path(down, up), TrainPlan(count=400, interval_us=250))
    assert expected.foreseen.quantiles_us == (7_000, 7_000, 7_000)
    assert expected.loss == pytest.approx(19)


def drawn(shape: Shape, plan: TrainPlan, seed: int) -> Train:
    """What probes find on a link with that shape, decided packet by packet as images/shape does."""
    draws = np.random.default_rng(seed)
    fresh, noise = draws.normal(size=plan.count).tolist(), np.abs(draws.normal(0, 20, plan.count)).tolist()
    lost = (draws.random(plan.count) < shape.mean_loss_percent / 100).tolist()
    at_once = (draws.random(plan.count) < shape.reorder_percent / 100).tolist()
    sequence, arrived, latest, number, normal = [], [], 0.0, float(draws.normal()), NormalDist()
    bound = shape.correlation_percent / 100
    for index in range(plan.count):
        number = bound * number + (1 - bound**2) ** 0.5 * fresh[index]
        left = index * plan.interval_us
        if lost[index]:
            continue
        if not at_once[index]:
            left += max(0.0, shape.delay_us + shape.jitter_us * jitter_quantile(shape.distribution, normal.cdf(number)))
            latest = left = max(left, latest) if shape.rate_bps else left
        sequence.append(index)
        arrived.append(left + BASE_US + noise[index])
    order = np.argsort(arrived)
    arrived_us, numbers = np.asarray(arrived)[order], np.asarray(sequence, dtype=np.int64)[order]
    delay_us = arrived_us - numbers * plan.interval_us
    late_us = np.zeros(len(order))
    return Train(plan, plan.count, numbers, delay_us, arrived_us, late_us, 0, 0, plan.seconds)


JITTERED = st.builds(
    Shape,
    delay_us=st.integers(20_000, 60_000),
    jitter_us=st.integers(2_000, 20_000),
    distribution=st.sampled_from(["uniform", "normal", "pareto"]),
    correlation_percent=st.sampled_from([0, 50]),
    loss_percent=st.sampled_from([0, 2]),
    reorder_percent=st.sampled_from([0, 5]),
    rate_bps=st.sampled_from([None, 12_000_000]),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(shape=JITTERED, seed=st.integers(0, 2**32))
def test_a_link_drawn_from_its_declaration_is_not_off_and_one_without_jitter_is(shape: Shape, seed: int) -> None:
    plan = spaced_plans(path(shape), Effort())[0]
    found, why = verdict(shape, drawn(shape, plan, seed))
    assert found != "off", why
    steady = shape.model_copy(update={"jitter_us": 0, "distribution": "uniform", "correlation_percent": 0})
    assert verdict(shape, drawn(steady, plan, seed))[0] == "off"
    wilder = shape.model_copy(update={"jitter_us": round(1.5 * shape.jitter_us), "delay_us": shape.delay_us + 10_000})
    assert verdict(shape, drawn(wilder, plan, seed))[0] == "off"


@pytest.mark.parametrize(
    "shape",
    [
        PROFILES["satellite-leo"].shape.down,
        parse_link_text("4G", "delay 35ms, jitter 10ms, rate 12mbit, limit 248, gemodel 1% 30%").down,
        parse_link_text("WAN", "delay 40ms, jitter 10ms, loss 1%").down,
        PROFILES["dsl"].shape.up,
        Shape(delay_us=20_000, jitter_us=20_000, reorder_percent=3),
        Shape(delay_us=20_000, jitter_us=5_000, distribution="pareto", rate_bps=10**8),
        Shape(loss_percent=0.02),
        Shape(corrupt_percent=0.1),
    ],
    ids=Shape.text,
)
def test_plans_tell_in_a_bounded_time(shape: Shape) -> None:
    """Both of the quick scenarios' kinds of link are among them."""
    plans = spaced_plans(path(shape), Effort())
    foreseen = foresee(path(shape), plans[0])
    assert foreseen.chance_us[1] <= tolerance_us(path(shape), foreseen)
    seen = [drawn(shape, plan, seed=index) for index, plan in enumerate(plans)]
    expected = Expected(path(shape), plans[0])
    if shape.corrupt_percent:
        seen[0] = replace(seen[0], corrupted=round(seen[0].sent * expected.corrupt * expected.visible / 100))
    assert sum(plan.seconds for plan in plans) <= 11
    assert judge(expected, summarise(seen, train(constant(0, 200)), expected, None)) == ("as declared", ())


def test_a_share_of_which_too_few_events_could_be_seen_is_not_judged() -> None:
    found, why = verdict(Shape(gemodel=GilbertElliott(p_percent=1, r_percent=30)), train(constant(0, 100), lost=3))
    assert found == "cannot tell"
    assert why == ("loss 3% (3 of 100), declared 3.226%: too few probes to tell",)


def test_a_median_that_chance_may_move_too_far_is_not_judged() -> None:
    shape = Shape(delay_us=25_000, jitter_us=10_000, distribution="normal", rate_bps=87_250_000)
    few = TrainPlan(count=20, interval_us=80_000)
    found, why = verdict(shape, drawn(shape, few, seed=1))
    assert found == "cannot tell"
    assert "among so few probes chance moves the median by" in why[0]


def test_reorder_is_judged_where_jitter_makes_some_travels_as_short() -> None:
    shape = Shape(delay_us=20_000, jitter_us=20_000, reorder_percent=10)
    plan = spaced_plans(path(shape), Effort())[0]
    assert verdict(shape, drawn(shape, plan, seed=3))[0] == "as declared"
    none = shape.model_copy(update={"reorder_percent": 0})
    found, why = verdict(shape, drawn(none, plan, seed=3))
    assert found == "off"
    assert why[0].startswith("reorder")


def test_a_path_whose_other_shape_reorders_as_well() -> None:
    up, down = Shape(delay_us=20_000, reorder_percent=5), Shape(delay_us=20_000)
    foreseen = foresee(path(down, up), TrainPlan(count=1000, interval_us=250))
    assert foreseen.early_us == 30_000
    assert foreseen.early_share == pytest.approx(0.05, abs=0.002)


def test_where_nothing_may_arrive_there_is_no_delay_to_judge() -> None:
    shape = Shape(delay_us=20_000, loss_percent=100)
    nothing = train(constant(20_000, 400), lost=400)
    assert verdict(shape, nothing) == ("as declared", ())
    found, why = verdict(Shape(delay_us=20_000), nothing)
    assert found == "off"
    assert why[-1] == "no probe arrived to tell the delay"


def test_nine_in_ten_as_declared_may_be_the_machine_s_fault() -> None:
    late = constant(5_000)
    late[::8] += 3_000
    found, why = verdict(Shape(delay_us=5_000), train(late))
    assert found == "cannot tell"
    assert "or this machine, which was busy" in why[0]
    early = constant(5_000)
    early[::8] -= 3_000
    assert verdict(Shape(delay_us=5_000), train(early))[0] == "off"


def test_a_sender_that_had_to_wait_makes_no_delay_too_long() -> None:
    shape, seen = Shape(rate_bps=10_000_000), train(constant(3_000))
    assert verdict(shape, seen)[0] == "off"
    found, why = verdict(shape, replace(seen, late_us=np.full(len(seen.sequence), 5_000.0)))
    assert found == "cannot tell"
    assert "100% of the probes were sent late, together with the next" in why[0]


def test_probes_suit_the_shape() -> None:
    (rare,) = spaced_plans(path(Shape(loss_percent=0.5)), Effort(spaced_s=5))
    assert rare.count == 4000
    (slow,) = spaced_plans(path(Shape(rate_bps=49_000)), Effort(spaced_s=2))
    assert slow.wire_bits / slow.interval_us * 1e6 < 49_000 / 2
    assert slow.seconds <= 2
    (far,) = spaced_plans(path(Shape(), Shape(delay_us=300_000)), Effort())
    assert far.linger_s > 0.3


def test_what_a_rate_keeps_in_order_gets_a_train_of_its_own() -> None:
    free = Shape(delay_us=35_000, jitter_us=10_000, loss_percent=2)
    assert len(spaced_plans(path(free), Effort())) == 1
    delays, losses = spaced_plans(path(free.model_copy(update={"rate_bps": 12_000_000})), Effort())
    assert delays.interval_us == 2_500
    assert losses.interval_us == 250
    assert losses.count == 1000
    unordered = Hop(free.model_copy(update={"rate_bps": 12_000_000}), ordered=False)
    assert len(spaced_plans((Hop(Shape()), unordered), Effort())) == 1


@pytest.mark.parametrize(
    ("first", "again", "both"),
    [
        ("off", "off", "off"),
        ("off", "as declared", "as declared"),
        ("cannot tell", "as declared", "as declared"),
        ("off", "cannot tell", "cannot tell"),
        ("cannot tell", "off", "cannot tell"),
        ("cannot tell", "cannot tell", "cannot tell"),
    ],
)
def test_what_is_not_as_declared_is_measured_once_more(
    first: LinkVerdict, again: LinkVerdict, both: LinkVerdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter((first, again))
    begun: list[str] = []

    def once(*_: object) -> LinkReport:
        verdict = next(found)
        facts: dict[str, Any] = {"verdict": verdict, "deviations": (f"{verdict} now",), "first_deviations": ()}
        return LinkReport.model_construct(**facts)

    @contextmanager
    def second() -> Iterator[None]:
        begun.append("second")
        yield

    monkeypatch.setattr(probing, "_measure_once", once)
    end = Endpoint(node="a", network="n", interface="", address="", place=cast(Place, None))
    report = probing.measure_direction(end, end, "up", LinkShape(), LinkShape(), Effort(), second)
    assert report.verdict == both
    assert report.first_verdict == first
    assert report.first_deviations == (f"{first} now",)
    assert begun == ["second"]


def test_a_rate_keeps_jitter_in_order_only_where_one_backend_does_both(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(delay_us=5_000, jitter_us=1_000, rate_bps=10**7)
    end = Endpoint(node="a", network="n", interface="", address="", place=cast(Place, None))
    parts = [("tbf", Shape(rate_bps=10**7)), ("userspace", Shape(delay_us=5_000, jitter_us=1_000))]
    monkeypatch.setattr(probing, "set_by", lambda *_: parts)
    assert not probing._hop(end, "up", shape).ordered
    monkeypatch.setattr(probing, "set_by", lambda *_: [("userspace", shape)])
    assert probing._hop(end, "up", shape).ordered
