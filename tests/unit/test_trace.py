"""wsesslog: what is written is read back; what is wrong is named with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.workload.trace import Burst, Request, Session, Trace, format_trace, mean_requests, parse_trace
from tests.traces import BAD, GOOD, SESSIONS


@given(sessions=SESSIONS)
def test_a_written_trace_is_read_back_to_the_last_digit(sessions: tuple[Session, ...]) -> None:
    assert parse_trace(format_trace(sessions), "trace") == sessions


@pytest.mark.parametrize(("text", "sessions"), GOOD)
def test_what_a_trace_says_is_read_and_written_again(text: str, sessions: tuple[Session, ...]) -> None:
    assert parse_trace(text, "trace") == sessions
    assert parse_trace(format_trace(sessions), "trace") == sessions


def test_httperfs_own_example_form() -> None:
    text = "# a comment\n/foo.html think=2.0\n\t/pict1.gif\n    /pict2.gif method=HEAD\n/foo2.html\n\n\n/other.html\n"
    first, second = parse_trace(text, "trace")
    assert [len(burst.requests) for burst in first] == [3, 1]
    assert first[0].think_s == 2.0
    assert first[0].requests[2].method == "HEAD"
    assert second == (Burst(requests=(Request(uri="/other.html"),)),)
    assert mean_requests((first, second)) == 2.5


@pytest.mark.parametrize(("text", "line", "says"), BAD)
def test_a_bad_line_is_named(text: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_trace(text, "trace")
    assert caught.value.where == f"trace:{line}"
    assert says in caught.value.what


@pytest.mark.parametrize(
    "request_", [{"uri": "/a b"}, {"uri": "a"}, {"uri": "/", "method": "BREW"}, {"uri": "/", "contents": "\0"}]
)
def test_a_request_that_no_trace_can_hold_is_refused(request_: dict[str, str]) -> None:
    with pytest.raises(InputError):
        Request.checked("request", request_)


@given(text=st.text(max_size=300))
def test_parsing_never_fails_in_any_other_way(text: str) -> None:
    try:
        assert parse_trace(text, "trace")
    except InputError as error:
        assert "\n" not in error.where  # noqa: PT017 (either outcome is right)


def test_a_trace_is_read_once_and_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    log, document = tmp_path / "log", tmp_path / "docs" / "a"
    log.write_text("/a\n\n")
    document.write_bytes(b"abc")
    workload = Trace(path=log, folder=tmp_path / "docs")
    digests = [workload.digest]
    log.write_text("/a\n\n/a\n\n")
    assert len(workload.sessions) == 1
    assert workload.digest == digests[0]
    digests.append(Trace(path=log, folder=tmp_path / "docs").digest)
    document.write_bytes(b"abd")
    digests.append(Trace(path=log, folder=tmp_path / "docs").digest)
    assert len(set(digests)) == 3
    assert Trace(path=log, folder=tmp_path / "docs").digest == digests[2]


def test_a_trace_file_as_a_workload(tmp_path: Path) -> None:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "sub" / "a").write_bytes(b"abc")
    (tmp_path / "log").write_text("/sub/a\n\n/sub/a\n/sub/a\n\n")
    workload = Trace(path=tmp_path / "log", folder=tmp_path / "docs")
    assert workload.documents() == {"sub/a": b"abc"}
    assert workload.requests_per_connection == 1.5
    first, second = (workload.client_files(client, 2, 1)["sessions.wsesslog"] for client in (0, 1))
    assert first != second
    assert set(parse_trace(first.decode(), "a")) == set(parse_trace(second.decode(), "b"))
    assert not workload.beyond_get
    (tmp_path / "log").write_text("/a method=PUT\n/b method=HEAD\n/c method=POST contents=x\n")
    assert Trace(path=tmp_path / "log", folder=tmp_path / "docs").beyond_get == ("POST", "PUT", "contents=")
    with pytest.raises(InputError, match="no such folder"):
        Trace(path=tmp_path / "log", folder=tmp_path / "none").documents()
    with pytest.raises(InputError, match="cannot be read"):
        Trace(path=tmp_path / "none", folder=tmp_path / "docs").client_files(0, 1, 1)
