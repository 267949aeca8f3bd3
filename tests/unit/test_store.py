"""The store: what is written is read back; a crash loses at most the line in flight; old formats stay readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError, RunError
from testbed.model.record import Verdict
from testbed.store.reading import find_runs, read_run
from testbed.store.writing import POINTS_FILE, append_record, new_run_folder
from tests.unit.records import record, saved_run


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = (record(), record("epoll-lt", 2000.0), record(verdict=Verdict.SUSPECT, rate=3000.0))
    run = saved_run(tmp_path, *written)
    assert run.records == written
    assert run.cut_lines == 0
    assert find_runs(tmp_path, "example") == [run.folder]


def test_a_run_without_a_point_is_not_among_the_runs(tmp_path: Path) -> None:
    run, empty = saved_run(tmp_path, record()), saved_run(tmp_path)
    assert read_run(empty.folder).records == ()
    assert find_runs(tmp_path, "example") == [run.folder]


@pytest.mark.parametrize("keep", [1, 20, 200])
def test_a_line_cut_short_costs_only_itself_and_not_the_next_one(tmp_path: Path, keep: int) -> None:
    run = saved_run(tmp_path, record(), record("epoll-lt"))
    points = run.folder / POINTS_FILE
    first, second = points.read_bytes().splitlines(keepends=True)
    points.write_bytes(first + second[:keep])
    append_record(run.folder, record(rate=5000.0))
    again = read_run(run.folder)
    assert [r.offered_per_s for r in again.records] == [1000.0, 5000.0]
    assert again.cut_lines == 1


def test_the_last_record_of_a_point_counts(tmp_path: Path) -> None:
    run = saved_run(tmp_path, record(verdict=Verdict.INVALID), record(replies=5.0))
    assert [r.replies_per_s for r in run.latest()] == [5.0]


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        read_run(tmp_path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_format_version_is_refused(tmp_path: Path, version: object) -> None:
    run = saved_run(tmp_path)
    path = run.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": version}))
    with pytest.raises(InputError, match=r"format_version: .* is not one of 1 to 1"):
        read_run(run.folder)


def test_a_record_with_a_wrong_field_is_refused_with_its_line(tmp_path: Path) -> None:
    run = saved_run(tmp_path, record())
    points = run.folder / POINTS_FILE
    points.write_text(points.read_text() + '{"point": 1}\n')
    with pytest.raises(InputError, match=r"points\.jsonl:2: point"):
        read_run(run.folder)


def test_a_run_of_format_1_stays_readable() -> None:
    run = read_run(Path(__file__).parent.parent / "data" / "results_format_1")
    assert run.manifest.name == "figure_5"
    assert {r.mechanism for r in run.records} == {"select", "poll", "epoll-lt"}
    assert all(r.replies_per_s > 0 for r in run.records)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        new_run_folder(blocked, "example")


@given(noise=st.binary(max_size=200))
def test_reading_never_fails_in_any_other_way(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    run = saved_run(tmp_path_factory.mktemp("noise"), record())
    points = run.folder / POINTS_FILE
    points.write_bytes(points.read_bytes() + noise)
    try:
        assert read_run(run.folder).records[0] == record()
    except InputError as error:
        assert POINTS_FILE in str(error)  # noqa: PT017 (either outcome is right)
