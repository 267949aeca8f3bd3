"""What the machine has taken: every route but those that stand for the whole world."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.topology import host
from testbed.topology.default import default_topology
from testbed.topology.plan import place

# Interface, destination, gateway, flags, …, mask: numbers as the memory of a little-endian machine holds them.
HEADING = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT, NEAR, OFFICE = (
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
    "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    "tun0\t0000000A\t0100080A\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n",
)
HALVES = (
    "tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"
    "tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n"
)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "route"
    monkeypatch.setattr(host, "_ROUTES", path)
    return path


def test_default_routes_take_nothing_nor_do_the_halves_of_a_vpn(table: Path) -> None:
    table.write_text(HEADING + DEFAULT + HALVES + NEAR + OFFICE)
    taken = host.host_routes()
    assert taken == {"192.0.2.0/24": "route via eth0", "10.0.0.0/8": "route via tun0"}
    assert place(default_topology(), "lab", taken, [0, 1]).networks[0].subnet == "172.20.0.0/24"


def test_without_a_table_nothing_is_known(table: Path) -> None:
    assert host.host_routes() == {}
