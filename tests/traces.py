"""Traces in httperf's wsesslog form that both readers are held to: testbed's own and loadgen's."""

from __future__ import annotations

from hypothesis import strategies as st

from testbed.workload.trace import Burst, Request, Session

GOOD: list[tuple[str, tuple[Session, ...]]] = [
    ("/a\n", ((Burst(requests=(Request(uri="/a"),)),),)),
    ("/a", ((Burst(requests=(Request(uri="/a"),)),),)),
    ("/a\r\n\r\n/b\r\n", ((Burst(requests=(Request(uri="/a"),)),), (Burst(requests=(Request(uri="/b"),)),))),
    ("\n \t\n/a\n\n\n", ((Burst(requests=(Request(uri="/a"),)),),)),
    ("# one\n/a\n  # two\n\t/b\n", ((Burst(requests=(Request(uri="/a"), Request(uri="/b"))),),)),
    ("/a think=1\n /b think=0.25\n/c\n", (
        (Burst(requests=(Request(uri="/a"), Request(uri="/b")), think_s=0.25), Burst(requests=(Request(uri="/c"),))),
    )),
    ("/a think=12345.67\n/b\n", (
        (Burst(requests=(Request(uri="/a"),), think_s=12345.67), Burst(requests=(Request(uri="/b"),))),
    )),
    ("/a think=1e-3\n/b\n", (
        (Burst(requests=(Request(uri="/a"),), think_s=0.001), Burst(requests=(Request(uri="/b"),))),
    )),
    ("/it's?\"x\"#y\\z\n", ((Burst(requests=(Request(uri="/it's?\"x\"#y\\z"),)),),)),
    ("/\u00e9\n", ((Burst(requests=(Request(uri="/\u00e9"),)),),)),
    ("/f method=POST \t contents='a=1 &\tb=\\'2\\'\\n\\\\'\n", (
        (Burst(requests=(Request(uri="/f", method="POST", contents="a=1 &\tb='2'\n\\"),)),),
    )),
    ("/f\tmethod=PUT\tcontents=\"it's\"\n", ((Burst(requests=(Request(uri="/f", method="PUT", contents="it's"),)),),)),
    ("/f method=DELETE\n", ((Burst(requests=(Request(uri="/f", method="DELETE"),)),),)),
    ("/f contents=\n", ((Burst(requests=(Request(uri="/f", contents=""),)),),)),
]  # fmt: skip
"""Text, and the sessions that it holds."""

BAD: list[tuple[str, int, str]] = [
    ("", 0, "the trace ends without a session"),
    ("\n", 1, "the trace ends without a session"),
    ("# only words\n\n", 2, "the trace ends without a session"),
    ("/a\n  /b think=x\n", 2, "think='x' is not allowed: seconds from 0 to 86400"),
    ("/a think=-1\n", 1, "think='-1' is not allowed"),
    ("/a think=nan\n", 1, "think='nan' is not allowed"),
    ("/a think=0x10\n", 1, "think='0x10' is not allowed"),
    ("/a think=1_0\n", 1, "think='1_0' is not allowed"),
    ("/a think=86401\n", 1, "think='86401' is not allowed"),
    ("/a think=\n", 1, "think='' is not allowed"),
    ("/a think\n", 1, "unknown option 'think'"),
    ("/a\n\n/b colour=red\n", 3, "unknown option 'colour=red': allowed are think= method= contents="),
    ("/a b\n", 1, "unknown option 'b'"),
    ("/a ''\n", 1, "unknown option ''"),
    ("  /a\n", 1, "an indented URI without a burst before it"),
    ("/a\n\n  /b\n", 3, "an indented URI without a burst before it"),
    ("a.html\n", 1, "'a.html' is no URI: a path beginning with / is expected"),
    ("'/a b'\n", 1, "''/a' is no URI"),
    ("/a\x01b\n", 1, "is no URI"),
    ("/a\x0b\n", 1, "is no URI"),
    ("/a\rb\n", 1, "is no URI"),
    ("/a method=BREW\n", 1, "method='BREW' is not one of: GET HEAD POST PUT DELETE OPTIONS"),
    ("/a contents='x\n", 1, "a quote that does not end on its line"),
    ("/a contents='\\x'\n", 1, "unknown escape '\\x': allowed are \\n \\r \\t \\\\ \\' \\\""),
    ("/a contents='\\", 1, "unknown escape '\\ '"),
    ("/a\n/b\0c\n", 2, "a zero byte"),
    ("/a\n# \0\n", 2, "a zero byte"),
]
"""Text, the line that is wrong, and what is said of it."""

_URIS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=0x21), max_size=20)
_REQUESTS = st.builds(
    Request,
    uri=_URIS.map(lambda text: f"/{text}"),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
    contents=st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
)
_BURSTS = st.builds(
    Burst, requests=st.lists(_REQUESTS, min_size=1, max_size=4).map(tuple), think_s=st.floats(0, 86_400)
)
SESSIONS = st.lists(st.lists(_BURSTS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=5).map(tuple)
"""Any sessions that can be written."""
