"""``testbed verify``: what it prints, and its exit status for each outcome."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli import main
from tests.unit.records import record, saved_run
from tests.unit.test_claims import AHEAD, pairs

REPRODUCED = pairs((100, 150), (100, 155), (100, 148))
CONTRADICTED = pairs((100, 101), (100, 99), (100, 103))
UNTOLD = [record(), record("epoll-lt")]

SCENARIO = """
from testbed import OneByte, PROFILES, Scenario, compared, mechanisms
SCENARIO = Scenario(
    name="example", title="An example", sentence="It is one.", servers=mechanisms("select", "epoll-lt"),
    workload=OneByte(), profiles=PROFILES,
    claims=(compared("behind", "It is behind.", "there", "select", "epoll-lt", at_most=1.0),),
)
"""


def saved(results: Path, points: list[object], claims: bool = True) -> Path:
    folder = saved_run(results, *points).folder  # type: ignore[arg-type]  # records, all of them
    if claims:
        path = folder / "manifest.json"
        data = json.loads(path.read_text())
        data["scenario"]["claims"] = [AHEAD.model_dump(mode="json")]
        path.write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("points", "options", "status", "said"),
    [
        (REPRODUCED, [], 0, "reproduced    epoll-lt ÷ select, replies/s = 1.51 (1.42 to 1.6), claimed ≥ 1.2"),
        (CONTRADICTED, [], 1, "contradicted"),
        (UNTOLD, [], 0, "cannot tell"),
        (UNTOLD, ["--strict"], 1, "cannot tell"),
        (REPRODUCED, ["--strict"], 0, "reproduced"),
    ],
)
def test_each_outcome_has_its_exit_status(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    points: list[object],
    options: list[str],
    status: int,
    said: str,
) -> None:
    assert main(["verify", str(saved(tmp_path, points)), *options]) == status
    shown = capsys.readouterr()
    assert said in shown.out
    assert "It is ahead. (here)" in shown.out
    assert shown.err.count("\n") == status
    assert ("ahead" in shown.err) == bool(status)


def test_json_holds_effect_interval_and_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path, list(CONTRADICTED))
    assert main(["verify", str(folder), "--json"]) == 1
    (run,) = json.loads(capsys.readouterr().out)
    (finding,) = run["claims"]
    assert run["folders"] == [str(folder)]
    assert finding["outcome"] == "contradicted"
    assert finding["low"] < finding["effect"] < finding["high"] < 1.2
    assert finding["confidence"] == 0.95
    assert finding["claim"]["name"] == "ahead"


def test_a_folder_of_results_means_the_newest_run_of_each_scenario(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, points in (("20260101T000000-aaaaaa", CONTRADICTED), ("20260102T000000-aaaaaa", REPRODUCED)):
        folder = saved(tmp_path, list(points))
        folder.rename(folder.with_name(name))
    for path in (tmp_path, tmp_path / "example"):
        assert main(["verify", str(path)]) == 0
        assert "20260102T000000" in capsys.readouterr().out


def test_a_run_that_was_killed_before_its_first_point_is_not_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = saved(tmp_path, [])
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no run that has a point" in capsys.readouterr().err
    empty.rename(empty.with_name("99990101T000000-aaaaaa"))
    folder = saved(tmp_path, list(REPRODUCED))
    assert main(["verify", str(tmp_path)]) == 0
    assert str(folder) in capsys.readouterr().out


def test_runs_of_one_scenario_are_judged_together_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for points in (pairs((100, 150)), pairs((10, 15.2))):
        saved(tmp_path, list(points))
    assert main(["verify", str(tmp_path), "--strict"]) == 1
    assert "more rates or repetitions are needed" in capsys.readouterr().out
    assert main(["verify", str(tmp_path), "--pool", "--strict"]) == 0
    shown = capsys.readouterr().out
    assert "2 pairs: 1 rate, 2 runs" in shown
    assert "reproduced" in shown


def test_runs_that_differ_are_not_judged_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for points in (pairs((100, 150)), pairs((10, 15.2))):
        folder = saved(tmp_path, list(points))
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    data["scenario"]["servers"][0]["backlog"] = 1024
    path.write_text(json.dumps(data))
    assert main(["verify", str(tmp_path), "--pool"]) == 2
    error = capsys.readouterr().err
    assert "cannot be judged together: scenario.servers.0.backlog is " in error
    assert error.count("\n") == 1


def test_a_file_s_claims_can_stand_for_those_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path, list(REPRODUCED), claims=False)
    assert main(["verify", str(folder)]) == 0
    assert "give its file with --scenario" in capsys.readouterr().out
    file = tmp_path / "example.py"
    file.write_text(SCENARIO)
    assert main(["verify", str(folder), "--scenario", str(file)]) == 0
    assert "It is behind. (there)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["."], "holds no run"),
        (["nowhere"], "nowhere: holds no run"),
        (["run", "--scenario", "other.py"], "no run of other among the results"),
        ([], "Missing argument 'RESULTS...'"),
    ],
)
def test_bad_usage_is_one_line_and_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    if arguments[:1] == ["run"]:
        saved(tmp_path, []).rename(Path("run"))
    Path("other.py").write_text(SCENARIO.replace('"example"', '"other"'))
    assert main(["verify", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
