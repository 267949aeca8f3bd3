"""The file through which the kernel is asked, and machines without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import awake as module
from testbed.awake import awake


def test_zero_microseconds_are_asked_for_as_a_word_of_32_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "latency"
    asked.touch()
    monkeypatch.setattr(module, "_LATENCY", asked)
    with awake() as why_not:
        assert why_not == ""
        assert asked.read_bytes() == bytes(4)


def test_the_wish_ends_with_the_block_also_when_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "latency"
    asked.touch()
    monkeypatch.setattr(module, "_LATENCY", asked)

    def is_open() -> bool:
        return any(link.exists() and link.samefile(asked) for link in Path("/proc/self/fd").iterdir())

    def fail() -> None:
        with awake():
            assert is_open()
            raise ValueError("in between")

    with pytest.raises(ValueError, match="in between"):
        fail()
    assert not is_open()


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_machine_that_cannot_says_why(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATENCY", tmp_path / name)
    with awake() as why_not:
        assert why_not.startswith(f"{tmp_path / name}: ")
