"""Other people's servers are set up for the load that their scenario puts on them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.engine.scenario_file import load_scenario

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "images" / "peers"
DESCRIPTORS = 20_000
"""What the doctor asks an engine for."""

ROOM_FOR_LOAD = 2_000


def number(text: str, setting: str) -> int:
    (value,) = re.findall(rf"^\s*{re.escape(setting)}\b[ =]*(\d+)", text, re.MULTILINE)
    return int(value)


def nginx() -> tuple[int, int]:
    """Descriptors, and connections: it closes idle ones when less than a sixteenth of its connections is free."""
    text = (PEERS / "nginx" / "nginx.conf").read_text()
    return number(text, "worker_rlimit_nofile"), number(text, "worker_connections") * 15 // 16


def lighttpd() -> tuple[int, int]:
    """Descriptors, and connections: half of them at the most, whatever is set."""
    text = (PEERS / "lighttpd" / "lighttpd.conf").read_text()
    descriptors = number(text, "server.max-fds")
    assert number(text, "server.max-connections") <= descriptors // 2, "else it says so at its start, and takes half"
    return descriptors, number(text, "server.max-connections")


@pytest.mark.parametrize("limits", [nginx, lighttpd])
def test_idle_connections_leave_room_for_the_load(limits: object) -> None:
    """Else the server answers nothing, and it is the configuration that was measured."""
    assert callable(limits)
    descriptors, connections = limits()
    idle = load_scenario(ROOT / "scenarios" / "peers.py").idle_connections
    assert isinstance(idle, tuple)
    assert max(idle) + ROOM_FOR_LOAD <= connections
    assert descriptors <= DESCRIPTORS
