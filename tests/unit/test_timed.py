"""Changes that wait for their moment: made then, refused with the reason, or taken back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from testbed.errors import RuntimeFault
from testbed.link.asker import Asker
from testbed.link.timed import TimedCall, Together
from testbed.runtime.fake import Call, FakeProcess

_LONG_S = 30.0


def soon(ms: float = 20) -> int:
    return time.monotonic_ns() + round(ms * 1e6)


def test_it_is_made_at_its_moment_and_never_before() -> None:
    made: list[int] = []
    moment_ns = soon(50)
    call = TimedCall(moment_ns, lambda: made.append(time.monotonic_ns()), lambda: None)
    assert call.outcome(_LONG_S) >= made[0] >= moment_ns
    call.cancel()
    assert len(made) == 1


def test_what_it_raised_is_its_outcome() -> None:
    def refuse() -> None:
        raise RuntimeFault("no such device")

    call = TimedCall(soon(), refuse, lambda: None)
    with pytest.raises(RuntimeFault, match="no such device"):
        call.outcome(_LONG_S)
    call.cancel()


def test_taken_back_it_never_comes_and_is_closed() -> None:
    happened: list[str] = []
    call = TimedCall(soon(_LONG_S * 1e3), lambda: happened.append("made"), lambda: happened.append("closed"))
    with pytest.raises(RuntimeFault, match="not made in time"):
        call.outcome(0.01)
    call.cancel()
    assert happened == ["closed"]


def test_several_are_in_force_when_the_last_is() -> None:
    moments = (soon(30), soon(5))
    together = Together([TimedCall(moment, lambda: None, lambda: None) for moment in moments])
    assert together.outcome(_LONG_S) >= max(moments)
    together.cancel()


def asker(*lines: dict[str, object]) -> Asker:
    def program(call: Call) -> Iterator[str]:
        yield from map(json.dumps, lines)

    return Asker(FakeProcess(program, Call("lab", "node", ("linkem",))), "server/net0/down")


def test_a_linkem_that_was_asked_says_when() -> None:
    asked = asker({"type": "waiting", "now_ns": 5}, {"type": "state", "now_ns": 7})
    assert asked.outcome(1.0) == 7


def test_a_linkem_that_does_not_answer_is_named() -> None:
    asked = asker({"type": "waiting", "now_ns": 5}, {"type": "error", "message": "nobody answers on this queue"})
    with pytest.raises(RuntimeFault, match="server/net0/down: linkem: nobody answers on this queue"):
        asked.outcome(1.0)
    with pytest.raises(RuntimeFault, match="said no 'state' in time"):
        asker({"type": "waiting", "now_ns": 5}).outcome(0.01)
