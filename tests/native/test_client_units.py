"""Runs client_units.c and client_links.c under the sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.native.client_lab import ENGINE_SOURCES, IMAGES, compiled


def test_units(tmp_path: Path) -> None:
    assert built_and_run(tmp_path, "client_units.c", [IMAGES / "client" / "think.c"]) == "all units passed\n"


def test_links(tmp_path: Path) -> None:
    assert built_and_run(tmp_path, "client_links.c", []) == "all links passed\n"


def built_and_run(tmp_path: Path, main: str, more: list[Path]) -> str:
    binary = compiled([Path(__file__).with_name(main), *ENGINE_SOURCES, *more], tmp_path / "units")
    done = subprocess.run([binary], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
