"""The links of a lab that stands: which endpoints there are, what each was declared to be, and how it is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import overload

from testbed.errors import RuntimeFault, TestbedError, UsageError
from testbed.link import choose
from testbed.link.base import AUTO, Endpoint
from testbed.link.carrier import Cable, cable_of
from testbed.link.choose import Choice
from testbed.link.plans import Effort
from testbed.link.probing import measure_direction
from testbed.link.sidecar import Sidecar, sidecar_name
from testbed.model.link_report import LinkReport
from testbed.model.placed import PlacedNode, PlacedTopology
from testbed.model.shape import DIRECTIONS, Direction, LinkShape
from testbed.model.value import Value
from testbed.runtime.base import Runtime

_WORKERS = 8


class DeclaredLink(Value):
    """What an endpoint was last told to be, with which backend, and what came of it.

    ``by`` says of each direction which backends shape it and why, ``missed`` what of the load does not see it.
    """

    shape: LinkShape = LinkShape()
    backend: str = AUTO
    by: dict[Direction, str] = {}
    missed: tuple[str, ...] = ()


class _Neighbours(Sequence[Endpoint]):
    """Endpoints of the nodes that are ``wanted``, each made when it is first asked for: it takes a sidecar.

    Iteration makes all at once, several at a time.
    """

    def __init__(
        self,
        make: Callable[[PlacedNode], Endpoint],
        nodes: Sequence[PlacedNode],
        wanted: Callable[[PlacedNode], bool] = lambda node: True,
    ) -> None:
        self._make = make
        self._nodes = tuple(nodes)
        self._wanted = wanted
        self._endpoints: dict[str, Endpoint] = {}

    def __len__(self) -> int:
        return sum(map(self._wanted, self._nodes))

    @overload
    def __getitem__(self, index: int) -> Endpoint: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Endpoint]: ...

    def __getitem__(self, index: int | slice) -> Endpoint | Sequence[Endpoint]:
        nodes = [node for node in self._nodes if self._wanted(node)]
        if isinstance(index, int):
            return self.one(nodes[index])
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="sidecar") as pool:
            return tuple(pool.map(self.one, nodes[index]))

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self[:])

    def one(self, node: PlacedNode) -> Endpoint:
        """That of one node."""
        if node.name not in self._endpoints:
            self._endpoints[node.name] = self._make(node)
        return self._endpoints[node.name]


class LabLinks:
    """See the module's text. It asks the runtime once for each node, so it is made anew for each command."""

    def __init__(self, runtime: Runtime, placed: PlacedTopology) -> None:
        self._runtime = runtime
        self._placed = placed
        self._sidecars: dict[str, Sidecar] = {}
        self._made = {made.name for made in runtime.made(placed.lab) if made.kind == "node"}

    def endpoint(self, node: str, network: str | None = None) -> Endpoint:
        """The endpoint of a node on a network, with its neighbours, beside which nothing is made before they are asked
        for. A node on one network only needs no name of it.

        Raises UsageError that says what there is.
        """
        name = self._network_of(node, network)
        own = self._bare(self._node(node), name)
        others = self._others(own)
        for other in others:
            self.sidecar(other.name)
        neighbours = _Neighbours(lambda other: self._bare(other, name), others)
        visited = _Neighbours(neighbours.one, others, lambda other: self.sidecar(other.name).is_made)
        return replace(own, neighbours=neighbours, visited=visited)

    def sidecar(self, node: str) -> Sidecar:
        """The sidecar of a node. Raises UsageError for a node that the lab does not have."""
        self._node(node)
        if node not in self._sidecars:
            made = sidecar_name(node) in self._made
            self._sidecars[node] = Sidecar(self._runtime, self._placed, node, made)
        return self._sidecars[node]

    def shape(self, endpoint: Endpoint, declared: LinkShape, backend: str = AUTO) -> dict[Direction, Choice]:
        """Put the endpoint under a shape, read it back, and remember it. Raises what ``choose.apply`` raises.

        It is remembered first: whatever ends this process, ``reset`` knows where to look. After an error the endpoint
        is again what it was.
        """
        choices = choose.choose_all(endpoint, declared, backend)
        before = self._kept(endpoint)
        by = {side: choice.text for side, choice in choices.items() if choice.parts}
        missed = tuple(self.blind_spots(endpoint, choices))
        self._keep(endpoint, DeclaredLink(shape=declared, backend=backend, by=by, missed=missed))
        try:
            choose.put(endpoint, declared, choices)
        except BaseException as error:
            self._undo(endpoint, before, error)
            raise
        return choices

    def _undo(self, endpoint: Endpoint, before: DeclaredLink, cause: BaseException) -> None:
        try:
            choose.apply(endpoint, before.shape, before.backend)
        except TestbedError as error:
            raise RuntimeFault(
                f"{cause}; and what {endpoint.name} was before cannot be put back ({error}): "
                f"try `testbed link reset {endpoint.node}`"
            ) from cause
        self._keep(endpoint, before)

    def reset(self, endpoint: Endpoint) -> None:
        """Remove whatever was shaped there."""
        choose.reset(endpoint)
        self._keep(endpoint, DeclaredLink())

    def remember(self, endpoint: Endpoint) -> DeclaredLink:
        """What it was last told to be; from now on it counts as touched, so that a later process sees what is set."""
        kept = self._kept(endpoint)
        self._keep(endpoint, kept)
        return kept

    def put_back(self, endpoint: Endpoint) -> None:
        """Make it what it was last told to be, whatever is set now. Raises what ``choose.apply`` raises."""
        kept = self._kept(endpoint)
        choose.apply(endpoint, kept.shape, kept.backend)

    def cable(self, endpoint: Endpoint) -> Cable:
        """Where it is plugged in. Raises as ``cable_of`` does."""
        return cable_of(endpoint)

    def blind_spots(self, endpoint: Endpoint, choices: Mapping[Direction, Choice]) -> list[str]:
        """What the shapes do not reach: the packet engine reads a node's packets before any shape where they arrive,
        and sends past the node's own qdiscs."""
        return [
            f"{direction}: the packet engine's hosts on {', '.join(blind)} do not see it, kernel TCP does"
            for direction, choice in choices.items()
            if (blind := self._blind(endpoint, direction, choice))
        ]

    def miss_load(self, endpoint: Endpoint, direction: Direction, choice: Choice) -> str:
        """Why a run's load would not see the shape, or not all of it; "" if it does."""
        role = self._node(endpoint.node).node.role
        partners = {"server": ("client", "idle"), "client": ("server",), "idle": ("server",)}.get(role, ())
        loaded = [other.name for other in self._others(endpoint) if other.node.role in partners]
        if not loaded:
            return f"no load crosses the link of {endpoint.name}"
        blind = self._blind(endpoint, direction, choice)
        if endpoint.node in blind or set(loaded) <= set(blind):
            return f"the packet engine's hosts on {', '.join(blind)} do not see {choice.names} there"
        return ""

    def _blind(self, endpoint: Endpoint, direction: Direction, choice: Choice) -> list[str]:
        """The nodes whose packet engine does not see the shape."""
        ends = set()
        for backend, _ in choice.parts:
            elsewhere = direction == "up" and choose.backends_of(endpoint)[backend].up_on_arrival
            ends |= {other.name for other in self._others(endpoint)} if elsewhere else {endpoint.node}
        return sorted(node for node in ends if self._node(node).emulated_prefix)

    def declared(self, endpoint: Endpoint) -> LinkShape:
        """What it was last told to be."""
        return self._kept(endpoint).shape

    def refuse_unseen(self, endpoint: Endpoint) -> None:
        """Raises UsageError when what was declared would not be seen by a run's load."""
        kept = self._kept(endpoint)
        for direction, choice in choose.choose_all(endpoint, kept.shape, kept.backend).items():
            missed = self.miss_load(endpoint, direction, choice) if choice.parts else ""
            if missed:
                raise UsageError(
                    f"link {endpoint.node} {endpoint.network} {direction}: {missed}; shape the other direction alone, "
                    "or the link's other end"
                )

    def kept(self) -> Iterator[tuple[str, DeclaredLink]]:
        """Every endpoint that a shape was ever given to, as "node network", with what it was last told to be."""
        for node, network in self.names():
            text = self.sidecar(node).kept(f"{network}.json")
            if text is not None:
                yield f"{node} {network}", DeclaredLink.model_validate_json(text)

    def _kept(self, endpoint: Endpoint) -> DeclaredLink:
        kept = self.sidecar(endpoint.node).kept(_file(endpoint))
        return DeclaredLink() if kept is None else DeclaredLink.model_validate_json(kept)

    def _keep(self, endpoint: Endpoint, link: DeclaredLink) -> None:
        """Nothing is written where it stands already: each writing in a container takes its time."""
        text = link.model_dump_json()
        if self.sidecar(endpoint.node).kept(_file(endpoint)) != text:
            self.sidecar(endpoint.node).keep(_file(endpoint), text)

    def test(
        self,
        endpoint: Endpoint,
        via: str | None = None,
        directions: Sequence[Direction] = DIRECTIONS,
        effort: Effort | None = None,
        declared: LinkShape | None = None,
        second: Callable[[Direction], AbstractContextManager[object]] = lambda _: nullcontext(),
    ) -> list[LinkReport]:
        """Measure against what was declared, with a neighbour at the other end: ``via``, or the server, or else the
        first. What takes a second measurement has it inside what ``second`` makes."""
        other = self._other_end(endpoint, via)
        kept, beside = self._kept(endpoint), self.declared(other)
        shape = declared or kept.shape
        reports = [
            measure_direction(endpoint, other, direction, shape, beside, effort or Effort(), partial(second, direction))
            for direction in directions
        ]
        if declared is not None:
            return reports
        return [report.model_copy(update={"why": kept.by.get(report.direction, "")}) for report in reports]

    def names(self) -> Iterator[tuple[str, str]]:
        """Every endpoint, as (node, network), in declared order."""
        for node in self._placed.nodes:
            for network in node.addresses:
                yield node.name, network

    def touched(self) -> Iterator[tuple[str, str]]:
        """The endpoints that a shape was ever given to: only nodes with a sidecar can have one."""
        for node, network in self.names():
            if self.sidecar(node).kept(f"{network}.json") is not None:
                yield node, network

    def _other_end(self, endpoint: Endpoint, via: str | None) -> Endpoint:
        names = [other.name for other in self._others(endpoint)]
        if not names:
            raise UsageError(f"{endpoint.name}: nobody else is on the network to measure with")
        if via is not None and via not in names:
            raise UsageError(f"{via!r} is not on {endpoint.network}: one of {', '.join(names)}")
        servers = [name for name in names if self._placed.node(name).node.role == "server"]
        chosen = via or (servers or names)[0]
        return self._bare(self._node(chosen), endpoint.network)

    def _others(self, endpoint: Endpoint) -> list[PlacedNode]:
        """The other nodes of its network."""
        return [
            node for node in self._placed.nodes if endpoint.network in node.addresses and node.name != endpoint.node
        ]

    def _bare(self, node: PlacedNode, network: str) -> Endpoint:
        sidecar = self.sidecar(node.name)
        address = node.addresses[network]
        interfaces = sidecar.interfaces()
        lab = self._placed.lab
        if address not in interfaces:
            raise UsageError(f"{node.name} has no interface with its address {address} on {network}")
        return Endpoint(
            node=node.name,
            network=network,
            interface=interfaces[address],
            address=address,
            place=sidecar,
            namespace=sidecar.namespace(),
            # The two runtimes name the namespace of a lab's bridges so; an engine's bridges may be in the host's own.
            switches=(f"/run/netns/tb-{lab}.switch", f"/run/netns/tb-{lab}"),
            emulated_prefix=node.emulated_prefix,
        )

    def _node(self, name: str) -> PlacedNode:
        for node in self._placed.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self._placed.nodes)
        raise UsageError(f"lab {self._placed.lab!r} has no node {name!r}: one of {names}")

    def _network_of(self, node: str, network: str | None) -> str:
        networks = list(self._node(node).addresses)
        if network is None and len(networks) == 1:
            return networks[0]
        if network is None:
            raise UsageError(f"{node} is on {', '.join(networks)}: say which with --network")
        if network not in networks:
            raise UsageError(f"{node} is not on network {network!r}: one of {', '.join(networks)}")
        return network


def _file(endpoint: Endpoint) -> str:
    return f"{endpoint.network}.json"
