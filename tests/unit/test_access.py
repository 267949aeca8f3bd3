"""Access links: how they are written, which points they make, what clients are told, when a point is invalid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from testbed.engine import point as point_life
from testbed.engine import watched_links
from testbed.engine.lab import Lab
from testbed.engine.measured import HostSample
from testbed.engine.run import run
from testbed.engine.scenario_file import changed
from testbed.engine.sweep import points
from testbed.errors import InputError, UsageError
from testbed.figures.base import FIGURES
from testbed.figures.concurrent import open_at_a_time
from testbed.link.engine_links import links_file
from testbed.model.access import access_text
from testbed.model.record import Verdict
from testbed.model.scenario import Profile, Scenario
from tests.unit.records import SCENARIO, link_report, record, saved_run
from tests.unit.scripted_world import World

FAST = Profile(rates_per_s=(1000, 2000), warm_up_s=0, window_s=0.01, client_timeout_s=0.1)
WAN = "delay 40ms, jitter 10ms, loss 1%"


def scenario(**changes: object) -> Scenario:
    data = {name: getattr(SCENARIO, name) for name in Scenario.model_fields}
    return Scenario.model_validate({**data, "profiles": {"quick": FAST}, "access": {WAN: 1}, **changes})


def test_profiles_and_words_have_shares() -> None:
    made = scenario(access={"dsl": 0.6, "down: rate 50mbit; up: rate 10mbit, delay 5ms": 0.4})
    assert access_text(made.access) == "60% dsl, 40% down: rate 50mbit; up: rate 10mbit, delay 5ms"
    dsl, other = made.access
    assert dsl.shape.down.rate_bps == 5_660_000
    assert (other.shape.up.delay_us, other.shape.down.delay_us) == (5000, 0)
    assert made.described()["access"][0]["share"] == 0.6


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"dsl": 0.6, "4g": 0.3}, "access: the shares sum to 0.9: they must sum to 1"),
        ({"satellite": 1}, "unknown profile 'satellite': one of lan, fiber"),
        ({"delay -1ms": 1}, "'delay -1ms': delay: -1ms is out of range"),
        ({"delay 1ms, jitter 2ms": 1}, "jitter 2ms is larger than delay 1ms"),
        ({"rate 100mbps, delay 1ms": 1}, "100mbps"),
        ({"dsl": 0}, "'dsl': 0 is no share: a number above 0, at most 1"),
        ({"dsl": "all"}, "'dsl': 'all' is no share"),
        ({"dsl": 1.5}, "'dsl': 1.5 is no share"),
    ],
)
def test_bad_access_is_one_line_with_its_entry(access: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(SCENARIO, [f"access={access}"], "quick")
    assert message in str(caught.value)
    assert str(caught.value).startswith("--set access=")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"access": {}, "idle_stand_ins_s": (0.1,)}, "nothing to stand in for"),
        ({"idle_stand_ins_s": (0.1, 0.1)}, "a number stands twice"),
        ({"idle_stand_ins_s": (-1,)}, "greater than or equal to 0"),
    ],
)
def test_stand_ins_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scenario(**changes)


def test_idle_connections_stand_in_by_littles_law() -> None:
    made = scenario(idle_stand_ins_s=(0, 0.08))
    found = {(p.offered_per_s, p.idle_connections, p.access) for p in points(made, FAST, 1)}
    assert found == {
        *((rate, 0, access) for rate in (1000, 2000) for access in (True, False)),
        (1000, 80, False),
        (2000, 160, False),
    }
    assert len({p.key for p in points(made, FAST, 1)}) == len(points(made, FAST, 1)) == 2 * len(found)


def test_the_file_says_shares_and_words_of_each_direction() -> None:
    text = links_file(scenario(access={"dsl": 0.75, "loss 1%": 0.25}).access)
    dsl, lossy = text.splitlines()
    assert dsl.startswith("0.75 down delay 18525us jitter 0us ")
    down, up = dsl.split(" up ")
    assert " rate 5660000 " in down
    assert " rate 820000 " in up
    assert lossy.count(" loss 0.0100000000 ") == 2


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(point_life, "_START_MARGIN_S", 0.0)
    still = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 0.0)
    monkeypatch.setattr(
        point_life, "sample_host", lambda: HostSample(time.monotonic_ns(), {0: still, 1: still}, 0.0, 0.0, 0)
    )
    monkeypatch.setattr(watched_links, "measure_access", lambda *_: [link_report("as declared")])
    return World()


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


def test_clients_are_told_of_their_links_and_stand_ins_are_not(world: World, lab: Lab, tmp_path: Path) -> None:
    done = run(scenario(idle_stand_ins_s=(0.08,)), lab, results=tmp_path)
    told = [command for _, command in world.commands if command[0] == "loadgen"]
    assert sum("--links" in command for command in told) == len(told) / 2
    assert [each["node"] for each in done.manifest.links] == ["access wan"]
    for each in done.records:
        assert each.verdict is Verdict.VALID, each.reasons
        assert each.established_connections_mean == pytest.approx(16)
        assert (each.open_connections_max, each.established_connections_max) == (40, 32)
        assert each.surrounding == ("access" if each.access else "idle")
        assert each.access in ("", WAN)
        assert open_at_a_time(each) == pytest.approx(16 if each.access else 16 + 0.08 * each.offered_per_s)
    shaped = next(each for each in done.records if each.access)
    assert shaped.evidence["access"]["lost"] == 16
    assert shaped.evidence["access"]["late_share"] == pytest.approx(0.01)


def test_clients_that_ran_without_their_links_make_points_invalid(world: World, lab: Lab, tmp_path: Path) -> None:
    world.unshaped = True
    done = run(scenario(), lab, results=tmp_path)
    assert {each.verdict for each in done.records} == {Verdict.INVALID}
    assert "ran without their access links" in done.records[0].reasons[0]


def test_a_link_that_is_off_makes_the_points_invalid_that_have_it(
    world: World, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_links, "measure_access", lambda *_: [link_report("off")])
    done = run(scenario(idle_stand_ins_s=(0,)), lab, results=tmp_path)
    for each in done.records:
        assert each.verdict is (Verdict.INVALID if each.access else Verdict.VALID)
    reasons = next(each.reasons for each in done.records if each.access)
    assert reasons == ("link access wan x up is off: delay 9ms, declared 5ms",)


def test_the_figure_puts_slow_and_idle_connections_on_one_axis(tmp_path: Path) -> None:
    changes: tuple[dict[str, object], ...] = (
        {"access": WAN, "established_connections_mean": 800.0},
        {"idle_connections": 790},
        {},
    )
    records = [
        record("select", rate).model_copy(
            update={"established_connections_mean": 5.0, **change, "point": f"{rate} {number}"}
        )
        for rate in (1000, 2000)
        for number, change in enumerate(changes)
    ]
    figure = FIGURES.get("concurrent")(saved_run(tmp_path, *records))
    FigureCanvasAgg(figure)
    lines = [(line.get_linestyle(), np.asarray(line.get_xdata()).tolist()) for line in figure.axes[0].get_lines()]
    assert {(style, at[0]) for style, at in lines if len(at) == 2} == {
        ("-", 800.0),
        ("--", 795.0),
        (":", 5.0),
    }
    assert "idle connections instead" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_old_run_has_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="how many connections were open"):
        FIGURES.get("concurrent")(saved_run(tmp_path, record()))
