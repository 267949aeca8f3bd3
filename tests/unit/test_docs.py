"""What the documents name exists: pictures, files, scenarios, and a section for each figure of the paper."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from testbed.cli import main
from testbed.engine.scenario_file import changed
from testbed.model.manifest import Manifest
from testbed.model.record import Record
from testbed.workload.trace import parse_trace

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_pictures_and_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    files = re.findall(r"\b((?:scenarios|images|docs|tests)/[\w./-]+\.(?:py|md|json|png))\b", text)
    assert [name for name in pictures if not (path.parent / name).is_file()] == []
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_every_figure_of_the_paper_has_its_section() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "docs" / "figures.md").read_text(encoding="utf-8"), re.MULTILINE)
    text = "\n".join(headings)
    for name in ("Figures 1 and 2", "Figures 3 and 4", "Table 1", "Figures 5 and 6", "Figure 7", "Idle sweep", "Peers"):
        assert name in text


def test_the_workload_and_the_scenario_that_are_shown_work() -> None:
    names: dict[str, Any] = {}
    for code in re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "workloads.md").read_text(encoding="utf-8"), re.DOTALL
    ):
        exec(code, names)
    workload = names["TwoFiles"](large_bytes=5)
    assert changed(names["SCENARIO"].model_copy(update={"workload": workload}), ["workload.large_bytes=7"], "quick")
    (text,) = workload.client_files(0, 8, 1).values()
    (session,) = parse_trace(text.decode(), "trace")
    assert [burst.requests[0].uri[1:] in workload.documents() for burst in session] == [True, True]
    assert len(session) == workload.requests_per_connection


def test_scenarios_are_listed_with_sentence_points_and_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # they come with testbed: no folder of them need be near
    assert main(["scenarios", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {path.stem for path in (ROOT / "scenarios").rglob("*.py")}
    assert all(row["sentence"] and row["points"] and row["seconds"] for row in rows)
    assert main(["scenarios"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("all")] == ["all of scenarios", "all of links"]
    assert len(lines) == 2 * len(rows) + 2
    assert {line.split("  ")[0] for line in lines[::2]} >= {"figure_1", "table_1"}


def test_the_papers_figures_take_a_quarter_of_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["seconds"] for row in rows if Path(row["file"]).parent.name == "scenarios") <= 13 * 60


def test_scenarios_of_a_folder_are_listed_by_their_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((ROOT / "scenarios" / "figure_1.py").read_text(encoding="utf-8"))
    assert main(["scenarios", str(tmp_path)]) == 0
    first, _, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path}/mine.py  9 points, about ")
    assert last.startswith(f"all of {tmp_path.name}  9 points, about ")
    assert main(["scenarios", str(tmp_path / "none")]) == 2
    assert "none: no such folder of scenarios" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [Manifest, Record], ids=lambda kind: kind.__name__)
def test_every_field_of_a_result_has_its_meaning(kind: type[Manifest | Record]) -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    named = {name for words in re.findall(r"`([\w, ]+)`", text) for name in words.split(", ")}
    assert set(kind.model_fields) - named == set()
