"""One point in a scripted world: what its evidence says of what surrounds it, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.engine import point as point_life
from testbed.engine.lab import Lab
from testbed.engine.run import run
from testbed.errors import RunError
from testbed.model.record import Verdict
from testbed.model.scenario import Profile, Scenario
from tests.unit.records import SCENARIO
from tests.unit.scripted_world import World, measuring

FAST = Profile(rates_per_s=(1000,), warm_up_s=0, window_s=0.01, client_timeout_s=0.1)


def one_point(idle_connections: int = 0, **profile: object) -> Scenario:
    """One server at one rate."""
    once = {"servers": SCENARIO.servers[:1], "profiles": {"quick": FAST.model_copy(update=profile)}}
    return SCENARIO.model_copy(update={**once, "idle_connections": idle_connections})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return measuring(monkeypatch)


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


def test_closing_sockets_that_nobody_answers_are_not_waited_for_long(
    world: World, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a lost FIN leaves them; while their number falls they are waited for."""
    monkeypatch.setattr(point_life, "_STILL_S", 0.2)
    counts = iter([5, 4, 3])
    monkeypatch.setattr(point_life, "_closing_sockets", lambda lab: next(counts, 2))
    began = time.monotonic()
    done = run(one_point(), lab, results=tmp_path)
    assert 0.3 < time.monotonic() - began < 5
    assert next(counts, None) is None
    assert done.records[0].evidence["sockets_left"] == 2
    assert done.records[0].verdict is Verdict.VALID


@pytest.mark.parametrize(("closing", "verdict"), [(0, Verdict.VALID), (10_000, Verdict.SUSPECT)])
def test_many_sockets_of_the_point_before_make_a_point_suspect(
    world: World, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closing: int, verdict: Verdict
) -> None:
    """They stand in tcp6, as those of a server that listens on both families do."""
    monkeypatch.setattr(point_life, "_STILL_S", 0.0)
    world.closing_sockets = closing
    record = run(one_point(), lab, results=tmp_path).records[0]
    assert record.verdict is verdict
    assert record.evidence["sockets_before"] == record.evidence["sockets_left"] == closing


def test_the_paper_s_pause_looks_at_the_sockets_too(world: World, lab: Lab, tmp_path: Path) -> None:
    world.closing_sockets = 3
    record = run(one_point(cool_down_s=0.0), lab, results=tmp_path).records[0]
    assert record.evidence["sockets_left"] == 3


def test_a_server_that_lowered_its_connections_is_suspect_and_both_numbers_stand(
    world: World, lab: Lab, tmp_path: Path
) -> None:
    world.most_connections = 900
    record = run(one_point(), lab, results=tmp_path).records[0]
    assert record.verdict is Verdict.SUSPECT
    assert "at most 900 connections, not the scenario's 15000" in record.reasons[0]


def test_what_surrounds_a_point_stands_in_its_evidence(world: World, lab: Lab, tmp_path: Path) -> None:
    evidence = run(one_point(), lab, results=tmp_path).records[0].evidence
    assert evidence["paths"] == {"switched": False, "steered": False, "reason": lab.paths.reason}
    assert "bridge_netfilter" in evidence
    assert evidence["server_run_delay_share"] == pytest.approx(1e-3 / evidence["window_s"])
    assert evidence["throttled_share"] == evidence["pressure_share"] == 0
    assert evidence["generator_cpu_share"] == pytest.approx(8 * 10e-6)  # one of the two CPUs is the clients'


@pytest.mark.parametrize("lost", [1, 3])
def test_answers_that_the_engine_lost_are_asked_for_again(world: World, lab: Lab, tmp_path: Path, lost: int) -> None:
    world.lost_answers = lost
    records = run(one_point(), lab, results=tmp_path).records
    assert {record.verdict for record in records} == {Verdict.VALID}
    assert world.lost_answers < 0


def test_answers_that_are_lost_every_time_are_never_taken_for_facts(world: World, lab: Lab, tmp_path: Path) -> None:
    world.lost_answers = 99
    with pytest.raises(RunError, match="userver --list-mechs --probe on server printed nothing, 5 times"):
        run(one_point(), lab, results=tmp_path)


def test_ctrl_c_while_idle_connections_come_up_does_not_wait_for_them(
    world: World, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.idles_come_up = False

    def interrupted(*_: object) -> None:
        while not any(command[0] == "idleconn" for _, command in world.commands):
            time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr(point_life, "_start_together", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(one_point(idle_connections=10), lab, results=tmp_path)
    assert time.monotonic() - began < 5
