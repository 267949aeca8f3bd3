"""What the userspace backend refuses because of what is set at the other end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.link.base import Endpoint
from testbed.link.userspace import Userspace
from testbed.model.shape import Shape
from testbed.runtime.base import Completed, Process


class Place:
    """Where one linkem runs, or none; nothing may be started."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state = state

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        if command[0] != "linkem":
            return Completed(0, "", "")  # no table of iptables is in use
        if self.state is None:
            return Completed(1, json.dumps({"type": "error", "message": "nobody answers on this queue"}), "")
        return Completed(0, json.dumps({"type": "state", **self.state}), "")

    def start(self, command: Sequence[str]) -> Process:
        raise AssertionError(command)


def test_a_duplicated_up_and_a_down_at_its_receiver_cannot_meet() -> None:
    shaped = Endpoint("server", "net0", "eth0", "10.0.0.1", Place({"label": "server/net0/down"}))
    sender = Endpoint("client", "net0", "eth0", "10.0.0.2", Place(), neighbours=(shaped,))
    with pytest.raises(UsageError, match="userspace cannot do this: duplicate up, beside server's down"):
        Userspace().apply(sender, "up", Shape(duplicate_percent=1))


def test_nor_the_other_way_round() -> None:
    sender = Endpoint("client", "net0", "eth0", "10.0.0.2", Place())
    place = Place({"label": "client/net0/up", "shape": {"duplicate": 0.01}})
    receiver = Endpoint("server", "net0", "eth0", "10.0.0.1", place, neighbours=(sender,))
    with pytest.raises(UsageError, match="userspace cannot do this: down, where what client sends is duplicated"):
        Userspace().apply(receiver, "down", Shape(delay_us=1000))
