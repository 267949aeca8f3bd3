"""Claims held against saved runs: what is paired, what counts, and when it cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.analysis.claims import judge_claims, saved_claims
from testbed.engine.scenario_file import load_scenario
from testbed.errors import InputError
from testbed.model.claim import CPU_PER_REPLY, At, Claim, Finding, Outcome, Quantity, Subject, compared
from testbed.model.record import Record, Verdict
from testbed.store.reading import Run, read_run
from tests.unit.records import record, saved_run
from tests.unit.test_scenario import SHIPPED

AHEAD = compared("ahead", "It is ahead.", "here", "epoll-lt", "select", at=At.EVERY, at_least=1.2)


def judged(run: Run, claim: Claim = AHEAD, *others: Run) -> Finding:
    (finding,) = judge_claims(run, [claim], others)
    return finding


def pairs(*replies: tuple[float, float], rate: float = 9000.0) -> list[Record]:
    """One repetition for each (select, epoll-lt)."""
    return [
        record(label, rate, value, repetition=number)
        for number, both in enumerate(replies, 1)
        for label, value in zip(("select", "epoll-lt"), both, strict=True)
    ]


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ([(100, 150), (100, 155), (100, 148)], Outcome.REPRODUCED),
        ([(100, 101), (100, 99), (100, 103)], Outcome.CONTRADICTED),
        ([(100, 110), (100, 180), (100, 90)], Outcome.CANNOT_TELL),
    ],
)
def test_the_interval_decides(tmp_path: Path, replies: list[tuple[float, float]], outcome: Outcome) -> None:
    finding = judged(saved_run(tmp_path, *pairs(*replies)))
    assert finding.outcome is outcome
    assert finding.effect is not None
    assert finding.low is not None
    assert finding.high is not None
    assert finding.low < finding.effect < finding.high
    assert finding.basis == "3 pairs: 1 rate, 3 repetitions"


def test_drift_between_repetitions_cancels_since_they_are_paired(tmp_path: Path) -> None:
    finding = judged(saved_run(tmp_path, *pairs((100, 150), (50, 76), (200, 298))))
    assert finding.outcome is Outcome.REPRODUCED
    assert finding.effect == pytest.approx(1.5, rel=0.02)


@settings(max_examples=30)  # each writes two runs to the disk, and waits for it
@given(factor=st.floats(0.01, 100))
def test_the_effect_does_not_hang_on_the_machine_s_speed(
    tmp_path_factory: pytest.TempPathFactory, factor: float
) -> None:
    values = [(100.0, 150.0), (100.0, 140.0)]
    scaled = [(factor * a, factor * b) for a, b in values]
    plain, other = (judged(saved_run(tmp_path_factory.mktemp("run"), *pairs(*each))) for each in (values, scaled))
    assert other.outcome is plain.outcome
    assert other.effect == pytest.approx(plain.effect)
    assert other.low == pytest.approx(plain.low)


def test_one_pair_is_not_enough(tmp_path: Path) -> None:
    finding = judged(saved_run(tmp_path, *pairs((100, 150))))
    assert finding.outcome is Outcome.CANNOT_TELL
    assert finding.effect == pytest.approx(1.5)
    assert finding.low is None
    assert "more rates or repetitions" in finding.reason


def test_only_valid_points_count(tmp_path: Path) -> None:
    run = saved_run(
        tmp_path,
        *pairs((100, 150), (100, 151)),
        record("select", 9000, 1, Verdict.SUSPECT, 3),
        record("epoll-lt", 9000, 150, repetition=3),
    )
    finding = judged(run)
    assert finding.outcome is Outcome.REPRODUCED
    assert finding.basis.startswith("2 pairs")
    run = saved_run(tmp_path / "b", record(verdict=Verdict.INVALID), record("epoll-lt"))
    assert judged(run).reason == "no valid points of select"
    assert judged(saved_run(tmp_path / "c", record())).reason == "no points of epoll-lt"


def test_servers_without_a_common_rate_cannot_be_compared(tmp_path: Path) -> None:
    run = saved_run(tmp_path, record("select", 1000), record("epoll-lt", 2000))
    assert "no valid points at the same rate" in judged(run).reason


OVERLOADED = AHEAD.model_copy(update={"at": At.OVERLOAD})
WITHIN = AHEAD.model_copy(update={"at": At.WITHIN_CAPACITY})


def test_overload_is_where_at_least_one_server_falls_behind(tmp_path: Path) -> None:
    idle = [record(label, 1000, 1000) for label in ("select", "epoll-lt")]
    half = [record("select", 10_000, 6_500), record("epoll-lt", 10_000, 9_870)]
    both = [*pairs((10_000, 15_000), rate=20_000), *pairs((10_000, 15_500), rate=30_000)]
    finding = judged(saved_run(tmp_path, *idle, *half, *both), OVERLOADED)
    assert finding.outcome is Outcome.REPRODUCED
    assert finding.basis.startswith("3 pairs: 3 rates; not all fell behind at 10,000/s: there the capacities are at")
    finding = judged(saved_run(tmp_path / "b", *both), OVERLOADED)
    assert finding.basis == "2 pairs: 2 rates"
    finding = judged(saved_run(tmp_path / "c", *idle), OVERLOADED)
    assert finding.outcome is Outcome.CANNOT_TELL
    assert "beyond the capacity of any" in finding.reason
    finding = judged(saved_run(tmp_path / "d", *idle, *half, *both), WITHIN)
    assert (finding.effect, finding.basis) == (1.0, "1 pair: 1 rate")
    assert "within the capacity of all" in judged(saved_run(tmp_path / "e", *both), WITHIN).reason


def test_a_rate_is_overload_for_all_its_repetitions_or_for_none(tmp_path: Path) -> None:
    """Decided pair by pair, those in which epoll-lt kept up would be left out, and the ratio drawn towards 1."""
    mostly_behind = pairs((6_000, 9_000), (6_000, 8_000), (6_000, 8_500))
    run = saved_run(tmp_path, *mostly_behind, *pairs((5_000, 5_000), (5_000, 4_000), (5_000, 5_000), rate=5_000))
    finding = judged(run, OVERLOADED)
    assert finding.effect == pytest.approx(1.415, rel=0.01)
    assert finding.basis == "3 pairs: 1 rate, 3 repetitions"
    assert judged(run, WITHIN).basis == "3 pairs: 1 rate, 3 repetitions"


def test_a_peak_is_the_best_of_a_repetition_at_whatever_rate(tmp_path: Path) -> None:
    claim = AHEAD.model_copy(update={"at": At.PEAK})
    run = saved_run(
        tmp_path,
        *pairs((100, 90), (100, 95), rate=1000),
        *pairs((80, 150), (80, 152), rate=2000),
    )
    finding = judged(run, claim)
    assert finding.effect == pytest.approx(1.51, rel=0.01)
    assert (finding.outcome, finding.basis) == (Outcome.REPRODUCED, "2 pairs: 2 repetitions")


def counted(label: str, calls: int, accepted: int, rate: float) -> Record:
    """A record whose counters moved by so much inside the window, after as much before it."""
    before = {"accepted": 7, "syscalls": {"epoll_ctl": {"calls": 5}} if calls else {}}
    after = {"accepted": 7 + accepted, "syscalls": {"epoll_ctl": {"calls": 5 + calls}} if calls else {}}
    raw = {"server_before": before, "server_after": after}
    return record(label, rate).model_copy(update={"raw": raw})


def count_claim(server: str, calls: float) -> Claim:
    quantity = Quantity(name="calls", counts=("syscalls.epoll_ctl.calls",), per="accepted")
    return Claim(
        name="calls",
        sentence="So many.",
        source="here",
        quantity=quantity,
        over=(Subject(server=server),),
        at_least=calls,
        at_most=calls,
    )


def test_counters_are_taken_over_the_window_and_a_call_never_made_is_none(tmp_path: Path) -> None:
    run = saved_run(
        tmp_path, *(counted(label, calls, 10, rate) for rate in (1, 2) for label, calls in (("a", 40), ("b", 0)))
    )
    assert judged(run, count_claim("a", 4)).outcome is Outcome.REPRODUCED
    assert judged(run, count_claim("a", 3)).outcome is Outcome.CONTRADICTED
    assert judged(run, count_claim("b", 0)).outcome is Outcome.REPRODUCED
    assert judged(run, count_claim("b", 1)).outcome is Outcome.CONTRADICTED


def test_a_server_without_counters_cannot_be_judged_by_them(tmp_path: Path) -> None:
    finding = judged(saved_run(tmp_path, record("nginx")), count_claim("nginx", 0))
    assert (finding.outcome, finding.reason) == (Outcome.CANNOT_TELL, "points of nginx have no calls")


def test_shares_need_a_profile(tmp_path: Path) -> None:
    claim = count_claim("a", 1).model_copy(update={"quantity": Quantity(name="%", shares=("read",))})
    before = {"cpu_user_us": 0, "cpu_system_us": 0, "syscalls": {}}
    after = {"cpu_user_us": 20, "cpu_system_us": 80, "syscalls": {"read": {"calls": 1, "time_ns": 25_000}}}
    points = [
        record("a", rate).model_copy(
            update={"server": {"profile": True}, "raw": {"server_before": before, "server_after": after}}
        )
        for rate in (1, 2)
    ]
    assert judged(saved_run(tmp_path, *points), claim).effect == pytest.approx(25)
    assert "have no %" in judged(saved_run(tmp_path / "b", record("a")), claim).reason


def test_nothing_divided_by_nothing_is_no_ratio(tmp_path: Path) -> None:
    finding = judged(saved_run(tmp_path, *pairs((0, 150), (100, 150))))
    assert (finding.outcome, finding.reason) == (Outcome.CANNOT_TELL, "replies/s of select is 0: there is no ratio")


def test_idle_populations_of_one_run_are_told_apart(tmp_path: Path) -> None:
    points = [
        record("select", rate).model_copy(
            update={"idle_connections": idle, "point": f"{rate} {idle}", "server_cpu_us_per_reply": cost}
        )
        for rate in (1, 2)
        for idle, cost in ((0, 20.0), (100, 60.0 + rate))
    ]
    many, none = (Subject(server="select", idle_connections=count) for count in (100, 0))
    claim = compared("grows", "It grows.", "here", many, none, quantity=CPU_PER_REPLY, at_least=2)
    finding = judged(saved_run(tmp_path, *points), claim)
    assert finding.outcome is Outcome.REPRODUCED
    assert finding.effect == pytest.approx(3.07, rel=0.01)


def test_stand_ins_are_paired_with_what_they_stand_for(tmp_path: Path) -> None:
    """As many idle connections as the rate keeps slow ones open: another number at each rate."""
    points = [
        record("select", rate).model_copy(
            update={
                "idle_connections": idle,
                "access": access,
                "point": f"{rate} {idle} {access}",
                "server_cpu_us_per_reply": cost,
            }
        )
        for rate in (1000, 2000)
        for idle, access, cost in ((0, "delay 40ms", 30.0), (rate // 10, "", 20.0), (0, "", 7.0))
    ]
    slow, instead = (Subject(server="select", where={"surrounding": each}) for each in ("access", "idle"))
    claim = compared("fair", "Fair.", "here", slow, instead, quantity=CPU_PER_REPLY, at_least=0.9, at_most=1.1)
    finding = judged(saved_run(tmp_path, *points), claim)
    assert finding.outcome is Outcome.CONTRADICTED
    assert finding.effect == pytest.approx(1.5)
    assert finding.basis == "2 pairs: 2 rates"


def test_points_that_cannot_be_told_apart_are_not_mixed(tmp_path: Path) -> None:
    twice = [record("select"), record("select").model_copy(update={"point": "another", "accept_limit": 3})]
    claim = compared("same", "Same.", "here", "select", "epoll-lt", at_least=1)
    run = saved_run(tmp_path, *twice, record("epoll-lt"))
    assert "several points at one rate" in judged(run, claim).reason
    chosen = compared(
        "same", "Same.", "here", Subject(server="select", where={"accept_limit": 3}), "epoll-lt", at_least=1
    )
    assert judged(run, chosen).effect == pytest.approx(1)


def test_runs_from_before_there_were_claims_have_none() -> None:
    run = read_run(Path(__file__).parent.parent / "data" / "results_format_1")
    assert saved_claims(run) == ()
    assert judge_claims(run) == ()


def test_a_claim_that_cannot_be_read_is_told_with_its_place(tmp_path: Path) -> None:
    run = saved_run(tmp_path)
    path = run.folder / "manifest.json"
    data = json.loads(path.read_text())
    data["scenario"]["claims"] = [{"name": "X"}]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"manifest\.json: scenario\.claims\.0: name"):
        saved_claims(read_run(run.folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at_least": None}, "nothing could contradict"),
        ({"at_most": 1.0}, "at_least is more than at_most"),
        ({"under": (), "over": (Subject(server="a"), Subject(server="b"))}, "without others to compare"),
        ({"at_least": float("nan")}, "finite"),
        ({"name": "No Name"}, "name"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Claim.checked("claim", {**AHEAD.model_dump(), **change})


@pytest.mark.parametrize(
    "data",
    [{}, {"field": "x", "shares": ("a",)}, {"counts": ("a",)}, {"field": "x", "per": "b"}],
    ids=["nothing", "two kinds", "counts per nothing", "field per something"],
)
def test_a_quantity_is_of_one_kind(data: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Quantity.checked("quantity", {"name": "q", **data})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_claims_are_about_servers_and_populations_that_their_scenarios_have(path: Path) -> None:
    scenario = load_scenario(path)
    for subject in (subject for claim in scenario.claims for subject in claim.subjects):
        meant = scenario if subject.scenario is None else load_scenario(path.with_name(f"{subject.scenario}.py"))
        assert subject.server in {server.label for server in meant.servers}
        assert subject.idle_connections in (None, *meant.idle_counts)
