"""A lab: one world of nodes and networks that stands on this machine, from up to down.

with Lab() as lab:                      # the default world; taken down again at the end
    print(lab.run("server", ["uname", "-r"]).stdout)

Whatever goes wrong while it is made, Ctrl-C, SIGTERM and a closed terminal included, everything made so far is removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Network
from types import TracebackType
from typing import Protocol, Self

from testbed.engine import lab_state
from testbed.engine.interrupts import only_first_interrupts, uninterrupted
from testbed.engine.lab_state import LabState
from testbed.engine.launcher import Launcher
from testbed.engine.making import make_all
from testbed.errors import EnvironmentLack, RunError, TestbedError, UsageError
from testbed.link.base import AUTO
from testbed.link.choose import checked_backend
from testbed.model.placed import DEFAULT_LAB, PlacedNode, PlacedTopology
from testbed.model.topology import NODE_NAME, Topology
from testbed.runtime import node_files
from testbed.runtime.asking import asked
from testbed.runtime.base import Completed, Made, Paths, Process, Runtime
from testbed.runtime.choose import choose
from testbed.topology.default import default_topology
from testbed.topology.plan import place

_WORKERS = 2 * (os.cpu_count() or 1)
"""Nodes made at a time. Starting one is work for the engine's CPUs, with waits in between: more at a time than this
only takes turns, and costs more CPU time for each."""

_PLANS = 5
"""Plans tried when another lab takes the chosen subnets first."""


_REMOVALS = 3
"""Times that a lab is removed before its coming back is an error."""


class Progress(Protocol):
    """Hears how far a lab is: ``done`` of ``total`` steps, and what the last one was. May be called from any thread."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


class Lab:
    """See the module's text.

    ``topology`` is the default world when None; ``runtime`` is a name or a runtime ("auto" is the one with which a lab
    of that name stands, and else picks); ``fast`` asks for the fast path where it can be had; ``link`` is the backend
    of declared links and of timelines ("auto" chooses for each).
    ``placed``, ``paths``, ``server``, ``clients`` and ``idles`` are there while it is up.
    """

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        name: str = DEFAULT_LAB,
        runtime: str | Runtime = "auto",
        fast: bool = True,
        link: str = AUTO,
        progress: Progress | None = None,
    ) -> None:
        self.name = checked_name(name)
        self.runtime = (
            choose(_made_with(name) if runtime == "auto" else runtime) if isinstance(runtime, str) else runtime
        )
        self._topology = topology
        self._fast = fast
        self.link = checked_backend(link)
        self._progress = progress
        self._placed: PlacedTopology | None = None
        self._paths: Paths | None = None
        self._own = True
        self._added: set[str] = set()
        self._launcher = Launcher(self.start)

    @classmethod
    def attach(cls, name: str = DEFAULT_LAB, runtime: str | Runtime = "auto", link: str = AUTO) -> Lab:
        """The lab of that name that stands. As a context manager it is left standing: whoever made it removes it.

        ``link`` is the backend of shapes to come, in a scenario's timeline. Raises UsageError if there is none.
        """
        lab = cls(name=name, runtime=runtime, link=link)
        state = lab_state.load(name)
        if not lab.runtime.made(name):
            raise UsageError(f"no lab {name!r} stands: bring it up with `testbed up{_option(name)}`")
        if state is None or state.runtime != lab.runtime.name:
            raise UsageError(
                f"lab {name!r} was not brought up whole by this user: `testbed down{_option(name)}` removes it"
            )
        lab._placed, lab._paths, lab._own = state.placed, state.paths, False
        return lab

    @classmethod
    def stands(cls, name: str = DEFAULT_LAB, runtime: str | Runtime = "auto") -> bool:
        """Whether a lab of that name, or a part of one, is on this machine."""
        return bool(cls(name=name, runtime=runtime).runtime.made(name))

    def up(self) -> None:
        """Make the lab. Raises UsageError if one of that name stands; on any failure nothing of it is left."""
        with only_first_interrupts(), lab_state.locked(self.name):
            if self.runtime.made(self.name):
                raise UsageError(
                    f"lab {self.name!r} stands already: `testbed down{_option(self.name)}` removes it, "
                    "or choose another name with --lab"
                )
            self._refuse_a_namesake()
            try:
                self._make()
            except BaseException as error:
                self._undo(error)
                raise

    def _refuse_a_namesake(self) -> None:
        """A lab of this name that stands in another runtime would lose its state to this one."""
        other = lab_state.saved_runtimes().get(self.name, self.runtime.name)
        if other == self.runtime.name:
            return
        try:
            stands = bool(choose(other).made(self.name))
        except EnvironmentLack as lack:
            raise UsageError(
                f"lab {self.name!r} was brought up with {other}, which cannot be asked whether it still stands "
                f"({lack.what}): choose another name with --lab"
            ) from None
        if stands:
            raise UsageError(
                f"lab {self.name!r} stands already, made with {other}: `testbed down{_option(self.name)}` removes it, "
                "or choose another name with --lab"
            )

    def down(self) -> None:
        """Remove everything of the lab; fine if there is nothing. An interrupt waits until it is done.

        Raises UsageError while another process measures in it."""
        with uninterrupted():
            lab_state.check_unused(self.name)
            with lab_state.locked(self.name):
                try:
                    self._launcher.close()
                finally:
                    _remove_whole(self.runtime, self.name)
                    self._placed = self._paths = None

    def __enter__(self) -> Self:
        if self._placed is None:
            self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._own:
            self.down()
        else:
            with uninterrupted():
                self._launcher.close()

    @property
    def placed(self) -> PlacedTopology:
        """Where everything is. Raises UsageError when the lab is not up."""
        if self._placed is None:
            raise UsageError(f"lab {self.name!r} is not up")
        return self._placed

    @property
    def paths(self) -> Paths:
        """How frames travel. Raises UsageError when the lab is not up."""
        if self._paths is None:
            raise UsageError(f"lab {self.name!r} is not up")
        return self._paths

    @property
    def server(self) -> PlacedNode:
        """The server. Raises UsageError when the topology has none, or several (then use ``placed``)."""
        servers = self.placed.with_role("server")
        if len(servers) != 1:
            raise UsageError(f"lab {self.name!r} has {len(servers)} servers, not one")
        return servers[0]

    @property
    def clients(self) -> tuple[PlacedNode, ...]:
        """The clients, in declared order."""
        return self.placed.with_role("client")

    @property
    def idles(self) -> tuple[PlacedNode, ...]:
        """The holders of idle connections, in declared order."""
        return self.placed.with_role("idle")

    def run(self, node: str, command: Sequence[str], timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command in a node to its end (``Runtime.run``)."""
        return self.runtime.run(self.name, self._known(node), command, timeout_s, stdin)

    def ask(self, node: str, command: Sequence[str]) -> Completed:
        """Run a command that only looks, and always prints what it sees (``testbed.runtime.asking``)."""
        return asked(partial(self.run, node), command, f"on {node}")

    def start(self, node: str, command: Sequence[str]) -> Process:
        """Start a program in a node (``Runtime.start``)."""
        return self.runtime.start(self.name, self._known(node), command)

    def launch(self, node: str, command: Sequence[str], first: bool = False) -> Process:
        """Start a program of many, one after the other in this node, at little cost (``testbed.engine.launcher``).

        ``first`` says of all that are launched there: they go before the others of their CPUs, where that is granted.
        """
        return self._launcher.start(self._known(node), command, first)

    def put_files(self, node: str, folder: str, files: Mapping[str, bytes]) -> None:
        """Write files below a folder of a node (``testbed.runtime.node_files``)."""
        node_files.put_files(self.runtime, self.name, self._known(node), folder, files)

    def logs(self, node: str) -> str:
        """What programs wrote on stderr in a node (``Runtime.logs``)."""
        return self.runtime.logs(self.name, self._known(node))

    def add(self, node: PlacedNode) -> None:
        """Make one more node, e.g. a server in the server's network. ``discard`` removes it, and so does ``down``."""
        self.discard(node.name)
        make_all(partial(self.runtime.create_node, self.placed), [node], at_once=1)
        self._added.add(node.name)

    def discard(self, node: str) -> None:
        """Remove a node that was added, by this run or by one that was killed; fine if there is none."""
        if any(placed.name == node for placed in self.placed.nodes):
            raise UsageError(f"node {node!r} belongs to the topology of lab {self.name!r}: it goes with the lab")
        self.runtime.remove(self.name, node)
        self._added.discard(node)

    def _known(self, node: str) -> str:
        names = [*(placed.name for placed in self.placed.nodes), *sorted(self._added)]
        if node not in names:
            raise UsageError(f"lab {self.name!r} has no node {node!r}: one of {', '.join(names)}")
        return node

    def _make(self) -> None:
        placed = self._make_networks(self._topology or default_topology())
        own = [node for node in placed.nodes if node.node.shares_network_of is None]
        sharing = [node for node in placed.nodes if node.node.shares_network_of is not None]
        total = len(placed.nodes) + 1
        done: list[str] = []

        def make(node: PlacedNode) -> None:
            self.runtime.create_node(placed, node)
            done.append(node.name)
            self._say(f"node {node.name}", len(done), total)

        make_all(make, own, _WORKERS)
        make_all(make, sharing, _WORKERS)
        self._paths = self.runtime.connect_paths(placed, self._fast)
        self._shape_links(placed)
        self._placed = placed
        lab_state.save(LabState(runtime=self.runtime.name, placed=placed, paths=self._paths))
        self._say("paths", total, total)

    def _shape_links(self, placed: PlacedTopology) -> None:
        if not any(node.node.links for node in placed.nodes):
            return
        # What shapes and probes links is loaded late: most worlds have plain ones, and it takes a while.
        from testbed.link.lab_links import LabLinks

        links = LabLinks(self.runtime, placed)
        for node in placed.nodes:
            for network, shape in node.node.links.items():
                links.shape(links.endpoint(node.name, network), shape, self.link)
                self._say(f"link {node.name} {network}", len(placed.nodes), len(placed.nodes) + 1)

    def _make_networks(self, topology: Topology) -> PlacedTopology:
        """Place the topology and make its networks. Another lab may take a chosen subnet meanwhile: then plan again
        without it, for a network that an engine is just making, or removing, stands in no list of it."""
        chosen = {network.name for network in topology.networks if network.subnet is None}
        avoided: dict[str, str] = {}
        for attempt in range(_PLANS):
            taken = {**self.runtime.taken_subnets(), **avoided}
            placed = place(topology, self.name, taken, self._cpus())
            try:
                make_all(partial(self.runtime.create_network, self.name), placed.networks, at_once=1)
            except UsageError:
                self.runtime.remove(self.name)
                if attempt == _PLANS - 1 or not (chosen or self._lost_race(placed)):
                    raise
                tried = (network for network in placed.networks if network.name in chosen)
                avoided |= {network.subnet: "a lab that comes or goes" for network in tried}
            else:
                return placed
        raise AssertionError("the last attempt returns or raises")

    def _lost_race(self, placed: PlacedTopology) -> bool:
        """Whether a subnet of the plan, free when it was made, is now taken by someone else."""
        taken = [IPv4Network(subnet, strict=False) for subnet in self.runtime.taken_subnets()]
        ours = [IPv4Network(network.subnet) for network in placed.networks]
        return any(mine.overlaps(other) for mine in ours for other in taken)

    def _cpus(self) -> list[int]:
        """CPUs that nodes may be placed on: the engine's, which may run in a machine of its own."""
        count = self.runtime.describe().get("cpus")
        return list(range(int(count))) if count else sorted(os.sched_getaffinity(0))

    def _undo(self, cause: BaseException) -> None:
        self._placed = self._paths = None
        try:
            self.runtime.remove(self.name)
            lab_state.forget(self.name)
        except TestbedError as error:
            raise RunError(
                f"{cause or type(cause).__name__}; and removing what was made failed too ({error}): "
                f"try `testbed down{_option(self.name)}`"
            ) from cause

    def _say(self, what: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(what, done, total)


def checked_name(name: str) -> str:
    """A lab's name as given. Raises UsageError: it becomes part of names of containers, networks and namespaces."""
    if not re.fullmatch(NODE_NAME, name):
        raise UsageError(f"lab name {name!r}: a small letter, then at most 30 of a-z, 0-9, _ and -")
    return name


def leftovers(runtimes: Iterable[Runtime]) -> list[Made]:
    """Everything with our labels that stands, of any lab, in these runtimes."""
    return [made for runtime in runtimes for made in runtime.made()]


def remove_all(runtimes: Sequence[Runtime]) -> list[str]:
    """Remove every lab and what is left of labs, whoever made it; returns the labs' names.

    Raises UsageError while another process measures in one of them, and RunError for the first lab of which something
    stays, after removing the others.
    """
    removed: set[str] = set()
    refusals = []
    for lab in {made.lab for made in leftovers(runtimes)}:
        lab_state.check_unused(lab)
    with uninterrupted():
        for runtime in runtimes:
            for lab in sorted({made.lab for made in runtime.made()}):
                try:
                    _remove_whole(runtime, lab)
                except RunError as error:
                    refusals.append(error)
                removed.add(lab)
    if refusals:
        raise refusals[0]
    return sorted(removed)


def _remove_whole(runtime: Runtime, lab: str) -> None:
    """Remove a lab, and what the engine still made of it meanwhile because a killed process had asked for it."""
    for _ in range(_REMOVALS):
        runtime.remove(lab)
        if not runtime.made(lab):
            lab_state.forget(lab)
            return
    raise RunError(f"parts of lab {lab!r} come back as they are removed: does another process make it?")


def _made_with(name: str) -> str:
    """The name of the runtime with which the lab was brought up; "auto" if it was not."""
    state = lab_state.load(name)
    return "auto" if state is None else state.runtime


def _option(name: str) -> str:
    return "" if name == DEFAULT_LAB else f" --lab {name}"
