"""The HTTP suite over every mechanism once more: the server in a container, as the default world has it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from testbed.engine.under_test.base import PORT
from testbed.model.placed import PlacedTopology
from testbed.model.topology import Network, Topology
from testbed.runtime.base import Runtime
from testbed.runtime.node_files import put_files
from testbed.topology.default import default_topology
from tests.integration.conformance_world import standing
from tests.native import http_suite, userver_process
from tests.native.http_peer import FILES

LAB = f"http{os.getpid()}"
CONNECTIONS = "2000"


@pytest.fixture(scope="module")
def placed(docker_engine: Runtime) -> Iterator[PlacedTopology]:
    """The default world's server alone on one network, with the documents."""
    if docker_engine.describe()["local"] != "yes":
        pytest.skip("the engine's containers are not on this machine: their addresses cannot be reached")
    own = default_topology().node("server").model_copy(update={"networks": ("net0",)})
    topology = Topology(networks=(Network(name="net0"),), nodes=(own,))
    with standing(docker_engine, LAB, topology, fast=False) as placed:
        put_files(docker_engine, LAB, "server", "/srv", FILES)
        yield placed


def command(mechanism: str) -> list[str]:
    return [
        *("userver", "--mech", mechanism, "--bind", "0.0.0.0", "--port", str(PORT), "--docroot", "/srv"),
        *("--accept-limit", "inf", "--backlog", "128", "--max-connections", CONNECTIONS),
    ]


@pytest.mark.parametrize("mechanism", userver_process.mechanism_names())
def test_every_case_against_the_server_in_its_container(
    docker_engine: Runtime, placed: PlacedTopology, mechanism: str
) -> None:
    probed = docker_engine.run(LAB, "server", ["userver", "--list-mechs", "--probe"])
    verdicts = dict(line.split(" ", 1) for line in probed.stdout.splitlines())
    if verdicts[mechanism] != "ok":
        pytest.skip(f"{mechanism}: {verdicts[mechanism]}")
    host = placed.node("server").addresses["net0"]
    process = docker_engine.start(LAB, "server", command(mechanism))
    try:
        assert '"ready"' in process.lines(20)[0]
        for case in http_suite.CASES.values():
            case(host, PORT)
    finally:
        process.signal("TERM")
    assert process.wait(20) == 0
