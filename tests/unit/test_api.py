"""The program of ``docs/api.md`` runs as it stands there, and every public name can be had."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import testbed
from testbed.engine import lab as lab_engine
from testbed.store.reading import find_runs
from tests.unit.scripted_world import measuring

ROOT = Path(__file__).parents[2]
(PROGRAM,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_documented_program_measures_prints_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runtime = measuring(monkeypatch).lab().runtime
    monkeypatch.setattr(lab_engine, "choose", lambda name: runtime)
    quick = PROGRAM.replace("warm_up_s=0.2, window_s=1)", "warm_up_s=0, window_s=0.01, client_timeout_s=0.1)")
    assert quick != PROGRAM
    exec(compile(quick, "docs/api.md", "exec"), {"__name__": "__main__"})
    (folder,) = find_runs(tmp_path / "results", "two_clients")
    assert (folder / "figures" / "two_clients_reply_rate.png").is_file()
    said = capsys.readouterr().out.splitlines()
    assert sum(" replies/s, valid" in line for line in said) == 4
    assert sum(line.startswith(("select ", "epoll-lt ")) for line in said) == 8
    assert runtime.made() == []


def test_every_public_name_can_be_had_and_is_known_to_type_checkers() -> None:
    assert all(getattr(testbed, name) is not None for name in testbed.__all__)
    tree = ast.parse(Path(testbed.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    named = {alias.name for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named == set(testbed.__all__)
