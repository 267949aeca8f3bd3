"""The table of a run: which points a row is the mean of, and what stands below it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.cli._table import print_run, print_run_json
from testbed.model.record import Record, Verdict
from testbed.model.server import mechanisms
from testbed.store.reading import Run
from tests.unit.records import SCENARIO, record, saved_run


def point(replies: float, rate: float = 1000, **fields: Any) -> Record:
    return record(rate=rate, replies=replies).model_copy(update={"point": f"{rate} {replies} {fields}", **fields})


def printed(run: Run, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line."""
    print_run(run)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_row_is_the_mean_of_its_repetitions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = (record(replies=100), record(replies=300, verdict=Verdict.SUSPECT, repetition=2))
    lines = printed(saved_run(tmp_path, *both), capsys)
    assert ["1,000", "200", "?", "20.0", "–", "–"] in lines
    assert not any("idle" in line for line in lines[:3]), "one population needs no column"


def test_idle_populations_have_a_row_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = (point(500, rate=2000), point(900), point(100, idle_connections=15_000))
    lines = printed(saved_run(tmp_path, *points), capsys)
    assert [line[:3] for line in lines[3:6]] == [
        ["1,000", "0", "900"],
        ["1,000", "15,000", "100"],
        ["2,000", "0", "500"],
    ]


def test_many_servers_have_a_row_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"server{number}" for number in range(9)]
    run = saved_run(tmp_path, *(record(name, replies=100) for name in names[1:]))
    scenario = SCENARIO.model_copy(update={"servers": mechanisms(*names)}).described()
    many = replace(run, manifest=run.manifest.model_copy(update={"scenario": scenario}))
    lines = printed(many, capsys)
    assert ["1,000", "server0", "–", "–"] in lines
    assert ["1,000", "server8", "100", "20.0"] in lines


def test_access_links_and_what_stands_in_for_them_have_a_row_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = (point(900, access="delay 40ms"), point(800, idle_connections=80), point(700))
    lines = printed(saved_run(tmp_path, *points), capsys)
    assert [line[:-3] for line in lines[3:6]] == [
        ["1,000", "0", "–", "700"],
        ["1,000", "80", "–", "800"],
        ["1,000", "0", "yes", "900"],
    ]


def test_a_profiled_run_has_its_shares_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before: dict[str, Any] = {"cpu_user_us": 0, "cpu_system_us": 0, "syscalls": {}}
    after = {"cpu_user_us": 20, "cpu_system_us": 80, "syscalls": {"read": {"calls": 1, "time_ns": 25_000}}}
    timed = point(900, server={"profile": True}, raw={"server_before": before, "server_after": after})
    lines = printed(saved_run(tmp_path, timed), capsys)
    assert ["read", "25.0"] in lines


@pytest.mark.parametrize("said", ["held off", "/dev/cpu_dma_latency: Permission denied"])
def test_whether_cpus_slept_stands_below_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    run = saved_run(tmp_path, record())
    print_run(replace(run, manifest=run.manifest.model_copy(update={"host": {"idle_states": said}})))
    assert f"idle states: {said}" in capsys.readouterr().out.splitlines()
    print_run(replace(run, manifest=run.manifest.model_copy(update={"host": {}})))
    assert "idle states" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ((True, True, ""), "fast path: on "),
        (
            (True, False, "no RPS"),
            "fast path: half: frames pass the lab's own switch, receiving is not steered (no RPS)",
        ),
        ((False, False, ""), "fast path: off: not asked for"),
    ],
)
def test_how_the_frames_went_stands_below_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], paths: tuple[bool, bool, str], said: str
) -> None:
    stated = dict(zip(("switched", "steered", "reason"), paths, strict=True))
    run = saved_run(tmp_path, record())
    run = replace(run, manifest=run.manifest.model_copy(update={"paths": stated}))
    print_run(run)
    assert capsys.readouterr().out.splitlines()[-1].startswith(said)
    print_run_json(run, [], [])
    assert json.loads(capsys.readouterr().out)["paths"] == stated
