"""What a container of ours can do: asked from inside two real ones, in a small lab that goes away again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from testbed.engine.finding import Finding
from testbed.engine.lab import Lab
from testbed.errors import EnvironmentLack, TestbedError
from testbed.model.topology import Network, Node, Topology
from testbed.runtime.base import Runtime
from testbed.topology.default import default_topology

_SERVER, _CLIENT = "server", "client"
_WANTED_NOFILE = 10_500
"""Descriptors that a server with 10,000 idle connections needs."""

_OPEN_PACKET_SOCKET = "use Socket; socket(my $s, 17, SOCK_RAW, unpack('n', pack('S', 3))) or die qq($!\\n)"
"""Perl, because every Debian image has it: AF_PACKET (17) for all protocols (ETH_P_ALL, 3, in network order)."""


def probe_inside(runtime: Runtime, built: bool) -> list[Finding]:
    """Findings from inside two nodes of the default world. ``built``: what they are made of is there, so that they have
    to start; else that is only told."""
    lab = Lab(_small_world(), name=f"doctor-{os.getpid()}", runtime=runtime, fast=False)
    findings: list[Finding] = []
    try:
        with lab:
            findings.append(Finding("container", "ok", "containers of the default world start", required=True))
            for name, probe in _PROBES.items():
                findings.extend(_asked(name, probe, lab))
    except EnvironmentLack as lack:
        findings.append(_no_container(lack.what, lack.fix, built))
    except TestbedError as error:
        findings.append(_no_container(str(error), "see the message", built))
    return findings


def _no_container(why: str, fix: str, built: bool) -> Finding:
    return Finding("container", "lack", f"no container of the default world starts: {why}", fix, required=built)


def _asked(name: str, probe: Callable[[Lab], Iterator[Finding]], lab: Lab) -> Iterator[Finding]:
    try:
        yield from probe(lab)
    except (TestbedError, ValueError) as error:
        yield Finding(name, "warn", f"could not be looked at: {error}", "see the message")


def _small_world() -> Topology:
    """One server and one client of the default world, on one network."""
    world = default_topology()

    def alone(node: Node, name: str) -> Node:
        return node.model_copy(update={"name": name, "networks": ("net0",)})

    nodes = (alone(world.with_role("server")[0], _SERVER), alone(world.with_role("client")[0], _CLIENT))
    return Topology(networks=(Network(name="net0"),), nodes=nodes)


_ALLOW_IO_URING = (
    "in compose.yaml give the server security_opt: [seccomp=images/server/seccomp.json] (testbed up --file); "
    "else sysctl kernel.io_uring_disabled=0"
)
_FIXES = {"io_uring": _ALLOW_IO_URING, "epoll-ctlv": _ALLOW_IO_URING, "aio-poll": "sysctl fs.aio-max-nr=1048576"}
"""For mechanisms that a sandbox or a setting may refuse. Others need a newer kernel."""


def _mechanisms(lab: Lab) -> Iterator[Finding]:
    """One finding for each mechanism that is refused, or one for all when none is."""
    done = lab.run(_SERVER, ["userver", "--list-mechs", "--probe"])
    states = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if not states:
        raise ValueError(f"userver lists no mechanisms: {done.stderr.strip() or 'no output'}")
    refused = {name: text.removeprefix("unavailable: ") for name, text in states.items() if text != "ok"}
    for name, reason in refused.items():
        what = f"inside a container: {reason}; scenarios skip it"
        yield Finding(f"mechanism {name}", "lack", what, _FIXES.get(name, "a newer kernel"))
    if not refused:
        yield Finding("mechanisms", "ok", f"all {len(states)} work inside a container: {', '.join(states)}")


def _packet_socket(lab: Lab) -> Iterator[Finding]:
    done = lab.run(_CLIENT, ["perl", "-e", _OPEN_PACKET_SOCKET])
    if done.status == 0:
        yield Finding("AF_PACKET", "ok", "works inside a container", required=True)
    else:
        what = f"refused inside a container ({done.stderr.strip()}): the packet engine cannot work"
        yield Finding("AF_PACKET", "lack", what, "let the engine grant NET_RAW; modprobe af_packet", required=True)


def _nofile(lab: Lab) -> Iterator[Finding]:
    text = lab.run(_SERVER, ["sh", "-c", "ulimit -Hn"]).stdout.strip()
    limit = None if text == "unlimited" else int(text)
    if limit is None or limit >= _WANTED_NOFILE:
        yield Finding("nofile", "ok", f"a container may open {text} descriptors")
    else:
        what = f"a container may open {limit} descriptors: too few for 10,000 idle connections"
        yield Finding("nofile", "warn", what, "raise LimitNOFILE of the engine's service, e.g. to 20000")


_PROBES: dict[str, Callable[[Lab], Iterator[Finding]]] = {
    "mechanisms": _mechanisms,
    "AF_PACKET": _packet_socket,
    "nofile": _nofile,
}
