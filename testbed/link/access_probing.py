"""Measures each kind of access link in both directions, before a run: through the packet engine's own links, between an
emulated host of the first client and the server's kernel. The probes are those of every other link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from testbed.errors import RunError
from testbed.link.base import Endpoint
from testbed.link.choose import apply
from testbed.link.engine_links import BACKEND, EmulatedHost, emulated_endpoint
from testbed.link.lab_links import LabLinks
from testbed.link.plans import Effort
from testbed.link.probing import measure
from testbed.model.access import AccessLink
from testbed.model.link_report import LinkReport
from testbed.model.placed import PlacedTopology

_EFFORT = Effort(flood_s=0.3)
_HOST = 7
"""Which host of the prefix is measured: any will do."""


def measure_access(links: LabLinks, placed: PlacedTopology, access: Sequence[AccessLink]) -> Iterator[LinkReport]:
    """The reports of each kind of link, both directions; a report's ``node`` is "access NAME".

    Raises RunError when the first client has no emulated hosts, and what ``apply`` and ``measure`` raise.
    """
    client, server = placed.with_role("client")[0], placed.with_role("server")[0]
    network = next(name for name in client.addresses if name in server.addresses)
    if client.emulated_prefix is None:
        raise RunError(f"{client.name} has no prefix of emulated hosts: access links need emulated_prefix_length")
    far = Endpoint(
        node=server.name,
        network=network,
        interface="",
        address=server.addresses[network],
        place=links.sidecar(server.name),
    )
    host = EmulatedHost(
        address=str(IPv4Network(client.emulated_prefix)[_HOST]),
        prefix=client.emulated_prefix,
        client=client.addresses[network],
        server=far.address,
        place=links.sidecar(client.name),
    )
    for link in access:
        near = emulated_endpoint(host, f"access {link.name}", network, (far,))
        apply(near, link.shape, BACKEND)
        yield from measure(near, far, link.shape, links.declared(far), _EFFORT)
