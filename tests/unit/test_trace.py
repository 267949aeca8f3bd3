"""wsesslog: what is written is read back; what is wrong is named with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.workload.trace import Burst, Request, Trace, format_trace, mean_requests, parse_trace

URIS = st.from_regex(r"/[a-z0-9_./-]{0,20}", fullmatch=True)
REQUESTS = st.builds(Request, uri=URIS, method=st.sampled_from(["GET", "HEAD"]))
BURSTS = st.builds(
    Burst,
    requests=st.lists(REQUESTS, min_size=1, max_size=4).map(tuple),
    think_s=st.integers(0, 5000).map(lambda ms: ms / 1000),
)
SESSIONS = st.lists(st.lists(BURSTS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=5).map(tuple)


@given(sessions=SESSIONS)
def test_a_written_trace_is_read_back(sessions: tuple[tuple[Burst, ...], ...]) -> None:
    assert parse_trace(format_trace(sessions), "trace") == sessions


def test_httperfs_own_example_form() -> None:
    text = "# a comment\n/foo.html think=2.0\n\t/pict1.gif\n    /pict2.gif method=HEAD\n/foo2.html\n\n\n/other.html\n"
    first, second = parse_trace(text, "trace")
    assert [len(burst.requests) for burst in first] == [3, 1]
    assert first[0].think_s == 2.0
    assert first[0].requests[2].method == "HEAD"
    assert second == (Burst(requests=(Request(uri="/other.html"),)),)
    assert mean_requests((first, second)) == 2.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "trace: holds no session"),
        ("# only a comment\n", "holds no session"),
        ("\t/indented\n", "trace:1: an indented URI continues a burst"),
        ("/a\n\n  /b\n", "trace:3: an indented URI"),
        ("/a\nb.html\n", "trace:2: 'b.html' is no URI path"),
        ("/a colour=red\n", "trace:1: unknown option 'colour=red': one of think=, method=, contents="),
        ("/a method=POST\n", "method 'POST' is not one of GET, HEAD"),
        ("/a contents='x'\n", "contents= sends a body"),
        ("/a think=-1\n", "think=-1 is not allowed: seconds from 0 to 86400"),
        ("/a think=nan\n", "think=nan is not allowed"),
        ("/a contents='x\n", "trace:1: cannot be read"),
    ],
)
def test_a_bad_line_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        parse_trace(text, "trace")


@given(text=st.text(max_size=300))
def test_parsing_never_fails_in_any_other_way(text: str) -> None:
    try:
        assert parse_trace(text, "trace")
    except InputError as error:
        assert "\n" not in error.where  # noqa: PT017 (either outcome is right)


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
    with pytest.raises(InputError, match="no such folder"):
        Trace(path=tmp_path / "log", folder=tmp_path / "none").documents()
    with pytest.raises(InputError, match="cannot be read"):
        Trace(path=tmp_path / "none", folder=tmp_path / "docs").client_files(0, 1, 1)
