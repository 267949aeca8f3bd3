"""What engines of different age answer is read alike: 20.10 on control groups 1, and 28 on control groups 2."""

from __future__ import annotations

import platform
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.errors import RuntimeFault
from testbed.model.placed import PlacedNode, PlacedTopology
from testbed.model.topology import Network, Node, Topology
from testbed.runtime import control_groups, docker_cpu
from testbed.runtime import docker as docker_runtime
from testbed.runtime.base import IMAGE_ID_LABEL, IMAGE_LABEL
from testbed.runtime.docker import DockerRuntime
from testbed.topology.plan import place

LABELS = {"testbed.lab": "a", "testbed.node": "server", "testbed.role": "server"}
OLD_STATS = {"cpu_usage": {"total_usage": 5_000_000, "percpu_usage": [3_000_000, 2_000_000]}, "online_cpus": 2}
NEW_STATS = {"cpu_usage": {"total_usage": 5_000_000, "usage_in_usermode": 4_000_000}, "online_cpus": 2}
OLD_INFO = {"Driver": "overlay2", "NCPU": 2, "KernelVersion": "5.10.0", "Name": "there", "CgroupVersion": "1"}
NEW_INFO = {**OLD_INFO, "Driver": "overlayfs", "CgroupVersion": "2", "KernelVersion": platform.release()}
ENDPOINT = {"IPAddress": "10.9.0.2", "Gateway": "10.9.0.1", "Aliases": None, "MacAddress": "02:42:0a:09:00:02"}
ANSWERS: dict[str, dict[str, Any]] = {
    "1.41": {
        "version": {"Version": "20.10.24", "ApiVersion": "1.41"},
        "info": OLD_INFO,
        "networks": [
            {"Name": "bridge", "Labels": {}, "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
            {"Name": "none", "Labels": {}, "IPAM": {"Config": []}},
        ],
        "endpoint": ENDPOINT,
        "stats": {"cpu_stats": OLD_STATS},
    },
    "1.50": {
        "version": {"Version": "28.2.2", "ApiVersion": "1.50", "Components": [{"Name": "Engine"}]},
        "info": {**NEW_INFO, "Name": socket.gethostname()},
        "networks": [
            {
                "Name": "bridge",
                "EnableIPv4": True,
                "EnableIPv6": True,
                "Labels": {},
                "IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}, {"Subnet": "fd00::/64"}]},
            },
            {"Name": "none", "EnableIPv4": True, "Labels": {}, "IPAM": {"Config": None}},
        ],
        "endpoint": {**ENDPOINT, "DNSNames": ["server"], "GwPriority": 0},
        "stats": {"cpu_stats": NEW_STATS},
    },
}


class Engine:
    """Answers as recorded, and keeps what it was asked to make."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.open_files = (20_000, 20_000)

    def version(self) -> Any:
        return self._answers["version"]

    def info(self) -> Any:
        return self._answers["info"]

    def networks(self, **_: Any) -> Any:
        return self._answers["networks"] if not _.get("filters") else []

    def containers(self, **_: Any) -> Any:
        networks = {"tb-a.net0": self._answers["endpoint"], "tb-a.net1": {**self._answers["endpoint"], "IPAddress": ""}}
        image = {"Image": "testbed/server:0123", "ImageID": "sha256:4567"}
        return [{"Labels": LABELS, "State": "running", "NetworkSettings": {"Networks": networks}, **image}]

    def inspect_container(self, name: str) -> Any:
        return {"Id": name, "State": {"Pid": 1}}

    def stats(self, _: str, **__: Any) -> Any:
        return self._answers["stats"]

    def create_host_config(self, **given: Any) -> Any:
        return given

    def create_endpoint_config(self, **given: Any) -> Any:
        return given

    def create_networking_config(self, endpoints: Any) -> Any:
        return endpoints

    def create_container(self, image: str, **given: Any) -> Any:
        self.asked.append(("create", given))
        return {"Id": "made"}

    def connect_container_to_network(self, made: str, network: str, **given: Any) -> None:
        self.asked.append((f"connect {network}", given))

    def start(self, made: str) -> None:
        self.asked.append(("start", {}))

    def remove_container(self, made: str, **_: Any) -> None:
        self.asked.append(("remove", {}))


@pytest.fixture(params=list(ANSWERS))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))
    engine = Engine(ANSWERS[request.param])
    monkeypatch.setattr(docker_runtime, "connect", lambda: SimpleNamespace(api=engine))
    monkeypatch.setattr(docker_runtime, "host_routes", dict)
    monkeypatch.setattr(docker_runtime, "open_files", lambda api, made, node: engine.open_files)
    return engine


def test_it_says_what_it_is_and_whether_it_is_here(engine: Engine) -> None:
    described = DockerRuntime().describe()
    new = described["api"] == "1.50"
    assert described["cgroup_version"] == ("2" if new else "1")
    assert described["local"] == ("yes" if new else "no")


def test_its_networks_take_their_ipv4_subnets(engine: Engine) -> None:
    assert DockerRuntime().taken_subnets() == {"172.17.0.0/16": "docker network bridge"}


def test_cpu_time_of_an_engine_elsewhere_is_what_it_tells(engine: Engine) -> None:
    assert DockerRuntime().cpu_time_ns("a", "server") == 5_000_000


def test_cpu_time_is_read_at_once_where_the_control_group_is_here(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine before 25.0 lets everybody wait for its next round, up to a second: the window would be another."""
    monkeypatch.setattr(control_groups, "container_group", lambda pid, container: str(tmp_path))
    monkeypatch.setattr(engine, "stats", None)
    runtime = DockerRuntime()
    for value in (7_000_000, 8_000_000):
        (tmp_path / "cpuacct.usage").write_text(f"{value}\n")
        assert runtime.cpu_time_ns("a", "server") == value
    (tmp_path / "cpuacct.usage").unlink()
    with pytest.raises(RuntimeFault, match=r"CPU time of server: its control group cannot be read \(No such file"):
        runtime.cpu_time_ns("a", "server")


def test_cpu_time_that_is_told_late_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be that of another moment, and nobody would see it."""
    clock = iter([100.0, 100.9])
    monkeypatch.setattr(docker_cpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(RuntimeFault, match=r"CPU time of server: the engine told it 0\.9 s late"):
        DockerRuntime().cpu_time_ns("a", "server")


def test_what_stands_is_told_with_the_addresses_that_are_set(engine: Engine) -> None:
    (made,) = DockerRuntime().made("a")
    assert (made.name, made.state, made.addresses) == ("server", "running", {"net0": "10.9.0.2"})


def server() -> tuple[PlacedTopology, PlacedNode]:
    own = Node(name="server", image="i", networks=("net0", "net1"))
    placed = place(Topology(networks=(Network(name="net0"), Network(name="net1")), nodes=(own,)), "a", {}, [0])
    return placed, placed.node("server")


def test_what_a_node_was_made_from_is_told_also_of_one_without_our_label(engine: Engine) -> None:
    (node,) = (made for made in DockerRuntime().made("a") if made.kind == "node")
    assert (node.labels[IMAGE_LABEL], node.labels[IMAGE_ID_LABEL]) == ("testbed/server:0123", "sha256:4567")


def test_a_node_on_two_networks_is_joined_to_both_before_it_starts_by_name_and_address(engine: Engine) -> None:
    """Old engines take one network at creation and ignore a MAC address: so every engine is asked in this way."""
    placed, node = server()
    DockerRuntime().create_node(placed, node)
    assert [what for what, _ in engine.asked] == ["create", "connect tb-a.net1", "start"]
    created, connected = engine.asked[0][1], engine.asked[1][1]
    assert created["networking_config"] == {
        "tb-a.net0": {"ipv4_address": node.addresses["net0"], "aliases": ["server"]}
    }
    assert created["host_config"]["network_mode"] == "tb-a.net0"
    assert connected == {"ipv4_address": node.addresses["net1"], "aliases": ["server"]}
    assert "mac_address" not in {**created, **created["host_config"], **connected}


def test_a_node_gets_the_hard_limit_of_descriptors_where_the_engine_gives_a_lower_one(engine: Engine) -> None:
    placed, node = server()
    engine.open_files = (1024, 524_288)
    runtime = DockerRuntime()
    runtime.create_node(placed, node)
    assert [what for what, _ in engine.asked if "connect" not in what] == [
        "create",
        "start",
        "remove",
        "create",
        "start",
    ]
    engine.asked.clear()
    runtime.create_node(placed, node)  # now it is known
    assert [what for what, _ in engine.asked if "connect" not in what] == ["create", "start"]
    (limit,) = engine.asked[0][1]["host_config"]["ulimits"]
    assert limit == {"Name": "nofile", "Soft": 524_288, "Hard": 524_288}


def test_a_node_that_cannot_be_started_is_removed_again_whatever_failed(engine: Engine) -> None:
    placed, node = server()
    for error, told in (
        (ConnectionError("reset by peer"), "node 'server': the container engine does not answer"),
        (KeyboardInterrupt("by hand"), "by hand"),
    ):

        def fail(_: str, error: BaseException = error) -> None:
            raise error

        engine.asked.clear()
        engine.start = fail  # type: ignore[assignment,method-assign]
        with pytest.raises((RuntimeFault, KeyboardInterrupt), match=told):
            DockerRuntime().create_node(placed, node)
        assert [what for what, _ in engine.asked] == ["create", "connect tb-a.net1", "remove"]
