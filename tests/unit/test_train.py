"""A train of probes: what the probes themselves did wrong is not the link's, and nothing of them is left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from testbed.errors import ProgramError
from testbed.link.train import TrainPlan, run_train
from testbed.runtime.base import Completed, Process

PLAN = TrainPlan(count=4, interval_us=1000, linger_s=0)
BASE_NS = 5_000_000_000


class Receiver:
    """A linkprobe that saw two probes, the second sent 3 ms late."""

    def __init__(self, beyond: int) -> None:
        times = {"base_ns": BASE_NS, "sent_ns": [0, 4_000_000], "arrived_ns": [70_000, 4_080_000]}
        counts = {"corrupted": 0, "foreign": 1, "beyond": beyond, "dropped": 0}
        self.said = [{"type": "ready"}, {"type": "summary", "sequence": [0, 1], **times, **counts}]
        self.ended: list[str] = []

    def lines(self, timeout_s: float) -> list[str]:
        return [json.dumps(self.said.pop(0))] if self.said else []

    def signal(self, name: str) -> None:
        self.ended.append(name)

    def wait(self, timeout_s: float) -> int:
        self.ended.append("waited")
        return 137

    def stderr(self) -> str:
        return ""


class Place:
    """Both ends."""

    def __init__(self, beyond: int = 0) -> None:
        self.receiver = Receiver(beyond)
        self.command: Sequence[str] = ()

    def start(self, command: Sequence[str]) -> Process:
        self.command = command
        started: Any = self.receiver
        return started  # type: ignore[no-any-return]  # of the contract what a train needs

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        counts = {"sent": 4, "refused": 1, "began_ns": BASE_NS, "ended_ns": BASE_NS + 4_000_000}
        return Completed(0, json.dumps(counts), "")


def test_what_the_sender_s_kernel_refused_was_never_sent() -> None:
    place = Place()
    train = run_train(place, place, "10.0.0.1", PLAN)
    assert train.sent == 3
    assert train.late_us.tolist() == [0, 3000]
    assert train.crowded == 0.5


def test_nothing_of_the_receiver_is_left() -> None:
    place = Place()
    run_train(place, place, "10.0.0.1", PLAN)
    assert place.receiver.ended == ["TERM", "KILL", "waited"], "a process that nobody waits for keeps its pipes"


def test_every_probe_may_be_repeated_twice_and_more_is_an_error() -> None:
    place = Place(beyond=3)
    with pytest.raises(ProgramError, match="3 arrivals of 4 probes are more than can be kept"):
        run_train(place, place, "10.0.0.1", PLAN)
    assert place.command[-2:] == ["--most", "32"]
