"""Automatic rates: the knee is found, and rates stand on both sides of every knee."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.engine import calibration
from testbed.engine.calibration import around, knee_between
from testbed.engine.lab import Lab
from testbed.engine.run import Silent, run
from testbed.errors import RunError
from testbed.model.scenario import AUTO, Profile
from testbed.store.reading import Run
from tests.unit.records import SCENARIO
from tests.unit.scripted_world import World, measuring

FAST = Profile(rates_per_s=AUTO, warm_up_s=0.001, window_s=0.01, client_timeout_s=0.123)


@given(knee=st.floats(32, 500_000))
def test_the_knee_is_found_to_an_eighth_with_few_trials(knee: float) -> None:
    asked: list[float] = []

    def answered(rate: float) -> bool:
        asked.append(rate)
        return rate <= knee

    found = knee_between(answered, (31.25, 2_000, 512_000), "it")
    assert found <= knee < found * 1.126 or found == 512_000
    assert len(asked) <= 12


def test_a_server_below_the_least_rate_is_named() -> None:
    with pytest.raises(RunError, match="slow does not answer 31 requests/s: give rates_per_s instead of auto"):
        knee_between(lambda _: False, (31.25, 2_000, 512_000), "slow")


@given(knees=st.lists(st.floats(32, 500_000), min_size=1, max_size=6))
def test_rates_stand_on_both_sides_of_every_knee_and_apart(knees: list[float]) -> None:
    rates = around(knees)
    assert list(rates) == sorted(rates)
    assert all(high > low * 1.03 for low, high in itertools.pairwise(rates))
    for knee in knees:
        assert min(rates) < knee < max(rates)
        assert any(0.8 * knee <= rate <= 1.25 * knee for rate in rates)


def test_auto_is_a_profile_without_rates_and_an_empty_list_is_none() -> None:
    assert Profile(rates_per_s=AUTO).rates_per_s == ()
    with pytest.raises(ValueError, match="at least one rate"):
        Profile(rates_per_s=())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Trials that take no time, on a machine on which nothing else runs."""
    monkeypatch.setattr(calibration, "_WINDOW_S", 0.002)
    monkeypatch.setattr(calibration, "_SESSIONS", 1)
    return measuring(monkeypatch)


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


class Told(Silent):
    """Keeps what is said of the knees."""

    def __init__(self) -> None:
        self.knees: list[str] = []

    def calibrated(self, text: str) -> None:
        self.knees.append(text)


def found(lab: Lab, results: Path, **changes: object) -> tuple[Run, list[str]]:
    """A run with automatic rates, and what it said of the knees."""
    told = Told()
    scenario = SCENARIO.model_copy(update={"profiles": {"quick": FAST}, **changes})
    return run(scenario, lab, results=results, observer=told), told.knees


def test_each_server_s_knee_is_told_and_the_rates_are_placed_around_them(
    world: World, lab: Lab, tmp_path: Path
) -> None:
    world.most_replies_per_s |= {"select": 70.0, "epoll-lt": 9_000.0}
    done, knees = found(lab, tmp_path)
    assert knees == ["select answers up to about 70/s", "epoll-lt answers up to about 9,000/s"]
    rates = [float(rate) for rate in done.manifest.profile["rates_per_s"]]
    assert rates == list(around([70.3125, 9_000.0]))
    assert {record.offered_per_s for record in done.records} == set(rates)


def test_trials_have_the_profile_s_warm_up_and_time_out_and_enough_sessions(
    world: World, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_SESSIONS", 12)
    world.most_replies_per_s |= {"select": 2_000.0}
    found(lab, tmp_path, servers=SCENARIO.servers[:1])
    trial = next(command for node, command in world.commands if node == "client1")
    flags = dict(itertools.pairwise(trial))
    assert (flags["--warm-up"], flags["--window"], flags["--timeout"]) == ("0.001s", "0.006s", "0.123s")


def test_what_the_clients_cannot_offer_is_no_server_s_knee(world: World, lab: Lab, tmp_path: Path) -> None:
    world.most_sent_per_s = 5_000.0
    _, knees = found(lab, tmp_path, servers=SCENARIO.servers[:1])
    assert knees == ["select answers 5,000/s and more: the clients can offer no more"]


def test_an_invalid_trial_is_made_again_and_then_ends_the_search(world: World, lab: Lab, tmp_path: Path) -> None:
    world.told_late = True
    with pytest.raises(RunError, match=r"a trial of select at 2,000/s is invalid \(8 clients were not ready"):
        found(lab, tmp_path)
    assert sum(node == "server" for node, _ in world.commands) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_trial_whose_server_fails_is_made_again(world: World, lab: Lab, tmp_path: Path) -> None:
    world.fail_servers = 1
    world.most_replies_per_s |= {"select": 2_000.0}
    _, knees = found(lab, tmp_path, servers=SCENARIO.servers[:1])
    assert knees == ["select answers up to about 2,000/s"]


def test_a_resumed_run_keeps_the_rates_that_were_found(world: World, lab: Lab, tmp_path: Path) -> None:
    world.most_replies_per_s |= {"select": 2_000.0}
    scenario = SCENARIO.model_copy(update={"servers": SCENARIO.servers[:1], "profiles": {"quick": FAST}})
    first = run(scenario, lab, results=tmp_path)
    commands = len(world.commands)
    told = Told()
    again = run(scenario, lab, results=tmp_path, resume=first.folder, observer=told)
    assert again.records == first.records
    assert told.knees == []
    assert len(world.commands) == commands
