"""``testbed trace``: what it writes it accepts; what is broken is one line with its place, and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli import main


def test_a_written_trace_is_accepted_and_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for file in (first, second):
        assert main(["trace", "write", str(file), "--set", "workload.sessions_per_client=50", "--seed", "4"]) == 0
    assert first.read_bytes() == second.read_bytes()
    assert main(["trace", "check", str(first)]) == 0
    assert "50 sessions" in capsys.readouterr().out


def test_a_file_is_not_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a"
    file.write_text("mine")
    assert main(["trace", "write", str(file)]) == 2
    assert file.read_text() == "mine"
    assert "exists; give --force" in capsys.readouterr().err
    assert main(["trace", "write", str(file), "--set", "workload.sessions_per_client=3", "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["write", "x", "--set", "workload.directories=0"], "directories: Input should be greater than or equal to 1"),
        (
            ["write", "x", "--set", "workload.directories=9999"],
            "directories: Input should be less than or equal to 209",
        ),
        (["write", "x", "--scenario", "figure_1"], "figure_1: its workload, one-byte, has no sessions"),
        (["write", "x", "--scenario", "figure_99"], "figure_99: no such scenario"),
        (["write", "nowhere/x"], "nowhere/x: cannot be written"),
        (["check", "none"], "none: cannot be read"),
        (["check", "broken"], "broken:2: unknown option 'colour=1': allowed are think= method= contents="),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken").write_text("/a\n/b colour=1\n")
    assert main(["trace", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
