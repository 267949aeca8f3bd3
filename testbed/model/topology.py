"""A world as declared: nodes, networks, and what each node may do. Addresses and CPUs come later (``placed``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from testbed.model.shape import LinkShape
from testbed.model.value import Value

Role = Literal["server", "client", "idle", "other"]
NODE_NAME = r"^[a-z][a-z0-9_-]{0,30}$"


class Network(Value):
    """One bridged network. ``subnet`` (CIDR) is chosen free of everything else when it is None."""

    name: str = Field(pattern=NODE_NAME)
    subnet: str | None = None


class Node(Value):
    """One container (or namespace) of a lab.

    ``image`` is a tag; ``build`` the Dockerfile's folder below ``images/`` where the project builds it itself.
    ``cpuset`` is a fixed CPU set ("0" or "0-1"), or None to be placed by role. ``emulated_prefix_length`` gives a
    client its own routed prefix of emulated hosts of that length (None: no emulated hosts). ``nofile`` is a limit of
    descriptors, None for the engine's own hard limit. ``shares_network_of`` puts the node into another node's
    network namespace (it then has no networks of its own). ``links`` shapes its interfaces: network → both directions.
    ``seccomp`` is the file of a seccomp profile, "unconfined" for none, or None for the engine's own.
    """

    name: str = Field(pattern=NODE_NAME)
    role: Role = "other"
    image: str
    build: str | None = None
    networks: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ("ALL",)
    sysctls: dict[str, str] = {}
    tmpfs: tuple[str, ...] = ()
    read_only: bool = True
    cpuset: str | None = None
    nofile: int | None = Field(default=None, ge=64)
    emulated_prefix_length: int | None = Field(default=None, ge=8, le=30)
    shares_network_of: str | None = None
    seccomp: str | None = None
    links: dict[str, LinkShape] = {}


class Topology(Value):
    """Networks and nodes. Names are unique; every network that a node names exists."""

    networks: tuple[Network, ...]
    nodes: tuple[Node, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Topology:
        networks = [network.name for network in self.networks]
        nodes = [node.name for node in self.nodes]
        for kind, names in (("network", networks), ("node", nodes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {kind}s are named {twice[0]!r}")
        for node in self.nodes:
            for name in node.networks:
                if name not in networks:
                    raise ValueError(f"node {node.name!r} is on network {name!r}, which is not declared")
            for name in node.links:
                if name not in node.networks:
                    raise ValueError(f"node {node.name!r} has a link on {name!r}, a network that it is not on")
            if node.shares_network_of is not None and node.shares_network_of not in nodes:
                raise ValueError(
                    f"node {node.name!r} shares the network of {node.shares_network_of!r}, which is not a node"
                )
            if bool(node.networks) == (node.shares_network_of is not None):
                raise ValueError(f"node {node.name!r} needs networks of its own, or shares_network_of, and not both")
        return self

    def with_role(self, role: Role) -> tuple[Node, ...]:
        """The nodes of a role, in declared order."""
        return tuple(node for node in self.nodes if node.role == role)

    def node(self, name: str) -> Node:
        """The node of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)
