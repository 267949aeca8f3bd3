"""Claims held against several runs: of one scenario pooled, of two compared, and what may not be."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.analysis.claims import judge_pooled
from testbed.errors import UsageError
from testbed.model import paper_claims
from testbed.model.claim import Claim, Outcome, Quantity, Subject
from testbed.store.reading import Run, read_run
from tests.unit.records import record, saved_run
from tests.unit.test_claims import AHEAD, OVERLOADED, judged, pairs


def renamed(run: Run, name: str, **host: Any) -> Run:
    """The run in the folder of another scenario, on a machine with these facts."""
    folder = run.folder.parents[1] / name / run.folder.name
    folder.parent.mkdir(exist_ok=True)
    run.folder.rename(folder)
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    data["scenario"]["name"] = name
    data["host"].update(host)
    path.write_text(json.dumps(data))
    return read_run(folder)


def test_runs_that_are_pooled_decide_together_what_overload_is(tmp_path: Path) -> None:
    values = ((6_000, 8_900), (8_800, 8_900), (6_000, 5_000))
    runs = [saved_run(tmp_path, *pairs(both)) for both in values]
    (finding,) = judge_pooled(runs, [OVERLOADED])
    assert finding.basis.startswith("3 pairs: 1 rate, 3 runs; not all fell behind at 9,000/s")


RELATIVE = Claim(
    name="relative",
    sentence="It loses.",
    source="here",
    quantity=Quantity(name="replies/s", field="replies_per_s"),
    over=(Subject(server="select"), Subject(server="epoll-lt", scenario="before")),
    under=(Subject(server="epoll-lt"), Subject(server="select", scenario="before")),
    at_most=0.9,
)


def test_two_runs_are_compared_by_their_own_ratios(tmp_path: Path) -> None:
    first = renamed(saved_run(tmp_path, *pairs((200, 200), (210, 210))), "before")
    now = saved_run(tmp_path, *pairs((50, 100), (49, 100)))
    for finding in (judged(now, RELATIVE), judged(now, RELATIVE, first)):
        assert finding.outcome is Outcome.REPRODUCED
        assert finding.effect == pytest.approx(0.495, rel=0.01)
        assert finding.basis.endswith(", with one run of before, without the drift between the two")


def test_another_machine_s_run_is_not_compared(tmp_path: Path) -> None:
    renamed(saved_run(tmp_path, *pairs((1, 1), (1, 1))), "before", kernel="2.6.5")
    assert (
        "another machine or path (host.kernel)" in judged(saved_run(tmp_path, *pairs((1, 2), (1, 2))), RELATIVE).reason
    )


@pytest.mark.parametrize(
    ("server", "kept", "outcome"),
    [
        ("epoll-et", 0.99, Outcome.REPRODUCED),
        ("epoll-et", 0.92, Outcome.CONTRADICTED),
        ("epoll-lt", 0.92, Outcome.REPRODUCED),
        ("epoll-lt", 0.8, Outcome.CONTRADICTED),
    ],
)
def test_what_idle_connections_take_from_epoll_is_told_by_its_own_run_without_them(
    tmp_path: Path, server: str, kept: float, outcome: Outcome
) -> None:
    (claim,) = (each for each in paper_claims.FIGURE_5 if each.name == f"{server}-keeps-throughput")
    without = [record(server, rate, 20_000) for rate in (28_000, 30_000)]
    beside = [record(server, rate, 20_000 * kept * noise) for rate, noise in ((28_000, 0.999), (30_000, 1.001))]
    other = renamed(saved_run(tmp_path, *without), "figure_3")
    assert judged(saved_run(tmp_path, *beside), claim, other).outcome is outcome


def begun(run: Run, minute: int, **manifest: Any) -> Run:
    """The run as if begun at this minute, with these fields of its manifest."""
    fields = {"started_at": f"2026-01-01T00:{minute:02}:00+00:00", **manifest}
    return replace(run, manifest=run.manifest.model_copy(update=fields))


def test_each_run_of_a_pool_is_compared_with_a_run_of_its_own(tmp_path: Path) -> None:
    """The machine was twice as fast for select in the second half hour: in both runs, so that the loss is the same."""
    before = [
        begun(renamed(saved_run(tmp_path, *pairs((speed, 100))), "before"), minute)
        for speed, minute in ((100, 1), (200, 41))
    ]
    now = [begun(saved_run(tmp_path, *pairs((speed, 100))), minute) for speed, minute in ((50, 5), (100, 45), (9, 47))]
    (finding,) = judge_pooled(now, [RELATIVE], before)
    assert finding.outcome is Outcome.REPRODUCED
    assert finding.effect == pytest.approx(0.5)
    assert finding.basis.startswith("2 pairs: 1 rate, 2 of 3 runs, each with one of before,")


def test_a_run_on_the_same_machine_is_taken_before_one_that_is_nearer(tmp_path: Path) -> None:
    far, near = (
        begun(renamed(saved_run(tmp_path, *pairs((100, 100), (100, 100))), "before"), minute, host={"kernel": kernel})
        for minute, kernel in ((1, "6.18"), (29, "2.6.5"))
    )
    now = begun(saved_run(tmp_path, *pairs((50, 100), (50, 100))), 30, host={"kernel": "6.18"})
    assert judged(now, RELATIVE, far, near).effect == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scenario": {"servers": [{"backlog": 1024}]}}, "scenario.servers.0.backlog is 128 and 1024"),
        ({"scenario": {"workload": {"file": "2.bin"}}}, "scenario.workload.file"),
        ({"profile": {"window_s": 4.0}}, "profile.window_s is 1.0 and 4.0"),
        ({"host": {"kernel": "2.6.5"}}, "host.kernel is None and '2.6.5'"),
        ({"paths": {"steered": False}}, "paths.steered is True and False"),
        ({"topology": {"nodes": [{"node": {"name": "server"}, "cpuset": "1"}]}}, "cpuset.server is None and '1'"),
        ({"runtime": {"name": "netns"}}, "runtime.name is 'fake' and 'netns'"),
        ({"programs": {"server": "b"}}, "programs.server"),
    ],
)
def test_runs_that_measured_something_else_are_not_pooled(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    runs = [saved_run(tmp_path, *pairs((100, 150))) for _ in range(2)]
    assert judge_pooled(runs, [AHEAD])
    other = replace(
        runs[1], manifest=type(runs[1].manifest).model_validate(merged(runs[1].manifest.model_dump(), change))
    )
    with pytest.raises(UsageError, match=re.escape(f"cannot be judged together: {field}")):
        judge_pooled([runs[0], other], [AHEAD])


def merged(there: Any, change: Any) -> Any:
    """The plain data with the change laid over it, element by element."""
    if isinstance(change, dict):
        return {**there, **{name: merged(there.get(name, {}), value) for name, value in change.items()}}
    if isinstance(change, list):
        rest = there or [{}]
        return [*(merged(one, value) for one, value in zip(rest, change, strict=False)), *rest[len(change) :]]
    return change


def test_more_rates_and_repetitions_of_the_same_are_pooled(tmp_path: Path) -> None:
    runs = [saved_run(tmp_path, *pairs((100, 150))) for _ in range(2)]
    profile = {**runs[1].manifest.profile, "rates_per_s": [1.0], "repetitions": 9}
    scenario = {**runs[1].manifest.scenario, "title": "Another", "claims": [AHEAD.model_dump(mode="json")]}
    other = begun(runs[1], 9, profile=profile, scenario=scenario, seed=2, host={"load_average": 3.0})
    assert [finding.outcome for finding in judge_pooled([runs[0], other], [AHEAD])] == [Outcome.REPRODUCED]


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    finding = judged(saved_run(tmp_path, *pairs((1, 2), (1, 2))), RELATIVE)
    assert (finding.outcome, finding.reason) == (Outcome.CANNOT_TELL, "there is no run of before to compare with")
