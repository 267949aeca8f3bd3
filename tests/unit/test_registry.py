"""Backends find themselves: a new file in the package is enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import UsageError
from testbed.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of colours with one backend."""
    name = "registry_of_colours"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(f"from testbed.registry import Registry\nCOLOURS = Registry('colour', {name!r})\n")
    (folder / "red.py").write_text(f"from {name}.base import COLOURS\nCOLOURS.register('red', 0xFF0000)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def colours(package: str) -> Registry[int]:
    registry: Registry[int] = __import__(f"{package}.base", fromlist=["COLOURS"]).COLOURS
    return registry


def test_a_backend_is_found_by_name(package: str) -> None:
    assert colours(package).get("red") == 0xFF0000


def test_a_new_file_is_enough(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "blue.py").write_text(f"from {package}.base import COLOURS\nCOLOURS.register('blue', 255)\n")
    assert colours(package).names() == ["blue", "red"]


def test_an_unknown_name_is_told_what_there_is(package: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown colour 'green': one of red$"):
        colours(package).get("green")


def test_two_files_may_not_claim_one_name(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "ruby.py").write_text(f"from {package}.base import COLOURS\nCOLOURS.register('red', 1)\n")
    with pytest.raises(ValueError, match="two colours are named 'red'"):
        colours(package).names()
