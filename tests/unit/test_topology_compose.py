"""compose.yaml → Topology: what is read, and that everything else is refused with its place."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from testbed.errors import InputError
from testbed.topology.compose import load_compose, parse_compose
from testbed.topology.default import default_file, default_topology

SMALL = """\
services:
  web:
    image: nginx
    networks: [lan]
networks:
  lan:
"""


def with_service(line: str) -> str:
    return SMALL.replace("    networks: [lan]\n", f"    networks: [lan]\n    {line}\n")


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_compose(text, "compose.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_default_world_is_the_one_of_the_design() -> None:
    world = default_topology()
    assert [node.name for node in world.with_role("server")] == ["server"]
    assert [node.name for node in world.with_role("client")] == [f"client{number}" for number in range(1, 9)]
    assert [node.name for node in world.with_role("idle")] == ["idle0", "idle1"]
    assert world.node("server").networks == ("net0", "net1")
    assert {node.networks for node in world.with_role("client")[:4]} == {("net0",)}
    assert {node.networks for node in world.with_role("client")[4:]} == {("net1",)}
    assert (world.node("idle0").networks, world.node("idle1").networks) == (("net0",), ("net1",))
    assert all(network.subnet is None for network in world.networks)


def test_the_default_world_grants_no_more_than_it_must() -> None:
    for node in default_topology().nodes:
        assert node.cap_drop == ("ALL",)
        assert node.cap_add == (() if node.role == "server" else ("NET_RAW",))
        assert node.read_only
        assert set(node.tmpfs) == {"/tmp", "/srv"}
        assert node.sysctls["net.ipv4.tcp_congestion_control"] == "reno"
        assert node.role == "server" or node.sysctls["net.ipv4.ip_forward"] == "0"
        assert node.build == ("server" if node.role == "server" else "client")


def test_each_client_of_the_default_world_has_room_for_ten_thousand_hosts() -> None:
    for node in default_topology().nodes:
        if node.role != "server":
            assert node.emulated_prefix_length is not None
            assert 2 ** (32 - node.emulated_prefix_length) - 2 >= 10_000


def test_every_supported_key_arrives() -> None:
    text = """\
    version: "2.4"
    x-mine: anything at all, $HOME too
    services:
      a:
        image: own
        build: {context: ./images, dockerfile: peers/Dockerfile}
        command: sleep infinity
        networks: {lan: , wan: {}}
        environment: [A=1, B=x=y]
        cap_add: [NET_RAW]
        cap_drop: [ALL]
        sysctls: {net.core.somaxconn: 4096}
        tmpfs: /tmp
        read_only: true
        cpuset: 1
        ulimits: {nofile: {soft: 200, hard: 200}}
        security_opt: [seccomp=own.json]
        x-testbed: {role: server, emulated_prefix_length: 20}
      b:
        image: own
        network_mode: service:a
        command: [sleep, infinity]
    networks:
      lan: {driver: bridge, ipam: {config: [{subnet: 10.9.0.0/24}]}}
      wan: {}
    """
    world = parse_compose(textwrap.dedent(text), "f")
    first, second = world.nodes
    assert (first.image, first.build, first.role) == ("own", "peers", "server")
    assert first.networks == ("lan", "wan")
    assert first.environment == {"A": "1", "B": "x=y"}
    assert first.sysctls == {"net.core.somaxconn": "4096"}
    assert (first.cap_add, first.cap_drop, first.tmpfs) == (("NET_RAW",), ("ALL",), ("/tmp",))
    assert (first.read_only, first.cpuset, first.nofile, first.emulated_prefix_length) == (True, "1", 200, 20)
    assert (first.seccomp, second.seccomp) == ("own.json", None)
    assert (second.shares_network_of, second.networks) == ("a", ())
    assert [network.subnet for network in world.networks] == ["10.9.0.0/24", None]


def test_a_merge_may_override_what_it_merges() -> None:
    text = "x-a: &a {image: one}\n" + SMALL.replace("image: nginx", "<<: *a\n    image: two")
    assert parse_compose(text, "f").nodes[0].image == "two"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (with_service("privileged: true"), "compose.yaml: services.web.privileged: unknown or unsupported key"),
        (with_service("x-testbed: {rôle: server}"), "services.web.x-testbed.rôle: unknown or unsupported key"),
        (with_service("ulimits: {nproc: 5}"), "services.web.ulimits.nproc: unknown or unsupported key"),
        (SMALL + "volumes: {}\n", "compose.yaml: volumes: unknown or unsupported key"),
        (SMALL.replace("lan:\n", "lan: {external: true}\n"), "networks.lan.external: unknown or unsupported key"),
        (SMALL.replace("image: nginx", "hostname: x"), "services.web.image: Field required"),
        (with_service("x-testbed: {role: boss}"), "services.web.x-testbed.role: "),
        (with_service("x-testbed: {emulated_prefix_length: 31}"), "services.web: emulated_prefix_length: "),
        (with_service("build: {context: ., dockerfile: Dockerfile}"), "services.web.build.context: "),
        (with_service("security_opt: [apparmor=mine]"), "services.web.security_opt: one entry, seccomp=FILE"),
        (with_service("security_opt: seccomp=a"), "services.web.security_opt: one entry, seccomp=FILE"),
        (with_service("network_mode: host"), "services.web.network_mode: "),
        (with_service("command: nginx"), "services.web.command: only 'sleep infinity', not 'nginx'"),
        (with_service("ulimits: {nofile: {soft: 9, hard: 99}}"), "ulimits.nofile: one number, or soft and hard alike"),
        ("x-testbed: {name: mine}\n" + SMALL, "compose.yaml: x-testbed: unknown or unsupported key"),
        (with_service("environment: [A]"), "services.web.environment: each item is KEY=VALUE"),
        (with_service("environment: {A: '${HOME}'}"), "services.web.environment.A: variables are not supported"),
        (SMALL.replace("[lan]", "[wan]"), "node 'web' is on network 'wan', which is not declared"),
        (SMALL.replace("[lan]", "{lan: {ipv4_address: 10.0.0.9}}"), "services.web.networks: lan has settings"),
        (SMALL.replace("web:", "Web:"), "services.Web: name: "),
        (SMALL.replace("    networks: [lan]\n", ""), "node 'web' needs networks of its own"),
        (SMALL + "  lan: {}\n", "compose.yaml: line 7: key 'lan' is there twice"),
        ("services: [\n", "compose.yaml: line 2: "),
        ("a: !!python/object/apply:os.system [true]\n", "compose.yaml: line 1: could not determine a constructor"),
        ("services: {}\nnetworks: {lan: }\n", "compose.yaml: services: "),
        ("- 1\n", "compose.yaml: is not a mapping"),
        ("", "compose.yaml: is not a mapping"),
        ("a: \x00\n", "compose.yaml: is not YAML"),
        ("? [a, b]\n: 1\n", "compose.yaml: line 1: "),
        ("1: 2\n", "compose.yaml: "),
    ],
)
def test_what_is_not_supported_is_refused_with_its_place(text: str, place: str) -> None:
    assert place in refusal(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml: cannot be read: No such file"):
        load_compose(tmp_path / "missing.yaml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_compose(path)


def test_a_seccomp_profile_stands_beside_its_file(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(with_service("security_opt: [seccomp=own.json]"))
    assert load_compose(path).nodes[0].seccomp == str(tmp_path / "own.json")
    path.write_text(with_service("security_opt: [seccomp=unconfined]"))
    assert load_compose(path).nodes[0].seccomp == "unconfined"


def test_the_default_file_is_the_one_at_the_root() -> None:
    assert default_file() == Path(__file__).resolve().parents[2] / "compose.yaml"
