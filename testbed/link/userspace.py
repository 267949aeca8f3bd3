"""userspace: linkem on the kernel's packet queue, on the receiver's side. It needs no netem, and no root outside.

``down`` is shaped where it arrives, in the node itself (iptables, table mangle). ``up`` is shaped where it arrives too:
in every other node of the network, for packets from this one's address and from the hosts that it emulates (table raw,
so that a packet can pass its sender's shape and then its receiver's). On the sender's side TCP would throttle itself on
the packets that wait (9 Mbit/s at 5 ms; on the receiver's side 4,420).

Each direction has its own queue number, rules and linkem. The rules have no bypass: when linkem dies, traffic stops.
A queue on the receiver's side does not see what packet sockets read: the packet engine has links of its own.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from zlib import crc32

from testbed.errors import RuntimeFault, UsageError
from testbed.link.asker import Asker
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.program_words import read_shape, shape_words
from testbed.link.timed import Planned, Together
from testbed.model.shape import Direction, Shape

_TABLES: dict[Direction, str] = {"down": "mangle", "up": "raw"}
_COMMENT = "testbed-link"
_FIRST_QUEUE, _QUEUES = 1024, 64_000
_TRIES = 16
"""Queue numbers tried when others' linkems have the first ones."""

_START_TIMEOUT_S = 10.0
_WORKERS = 8
T = TypeVar("T")
_LOCK_FLAGS = ("-w", "20")


class Userspace:
    """See the module's text."""

    name = "userspace"
    preference = 3
    slot = "userspace"
    up_on_arrival = True

    def lack(self, endpoint: Endpoint, direction: Direction) -> str | None:
        """iptables-legacy with the direction's table, or linkem, missing where the direction arrives.

        Looking for a table makes its hooks, which stay: so it is the one that shaping needs, and no other.
        """
        arrivals = _arrivals(endpoint, direction)
        place = (arrivals[0] if arrivals else endpoint).place
        for command in (_listing(_TABLES[direction]), ["linkem", "--help"]):
            try:
                done = place.run(command)
            except RuntimeFault as error:
                return str(error)
            if done.status != 0:
                return f"`{shlex.join(command)}`: {(done.stderr or done.stdout).strip()[:200]}"
        return None

    def part(self, shape: Shape) -> Shape:
        """All of it: whatever a Shape says, linkem does packet by packet."""
        return shape

    def refuse(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
        """``up`` where nobody receives it, a rate for all receivers together, and copies that a ``down`` would miss."""
        arrivals = _arrivals(endpoint, direction)
        if not arrivals:
            return "nobody else is on the network, so nothing that it sends can be shaped"
        if direction == "up" and shape.rate_bps and len(arrivals) > 1:
            return f"rate up (each of {len(arrivals)} receivers would get all of it; tbf does it at the sender)"
        return _unseen_copies(endpoint, direction, shape)

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        """Start a linkem wherever the direction arrives, or change the one that runs; then its rule."""
        refused = self.refuse(endpoint, direction, shape)
        if refused is not None:
            raise UsageError(f"{endpoint.name}: userspace cannot do this: {refused}")
        arrivals = _arrivals(endpoint, direction)
        _in_parallel(lambda arrival: _Queue(endpoint, direction, arrival).shape(shape), arrivals)

    def hold(self, endpoint: Endpoint, direction: Direction) -> None:
        """A linkem that lets all through wherever the direction arrives, unless one runs there already."""
        _in_parallel(lambda arrival: _Queue(endpoint, direction, arrival).hold(), _arrivals(endpoint, direction))

    def plan(self, endpoint: Endpoint, direction: Direction, shape: Shape, at_ns: int) -> Planned:
        """A program that asks the linkem waits beside each."""
        queues = [_Queue(endpoint, direction, arrival) for arrival in _arrivals(endpoint, direction)]
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="link") as pool:
            futures = [pool.submit(queue.plan, shape, at_ns) for queue in queues]
        together = Together([future.result() for future in futures if future.exception() is None])
        for error in filter(None, (future.exception() for future in futures)):
            together.cancel()  # none of them may come when not all can
            raise error
        return together

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        """As the running linkem reports it; the same at every receiver, or it is an error."""
        arrivals = _visited(endpoint, direction)
        shapes = _in_parallel(lambda arrival: _Queue(endpoint, direction, arrival).read_back(), arrivals)
        if not shapes or all(shape is None for shape in shapes):
            return None
        everywhere = len(shapes) == len(_arrivals(endpoint, direction))
        if not everywhere or any(shape != shapes[0] for shape in shapes):
            raise RuntimeFault(f"{endpoint.name} {direction}: not all receivers have the same shape")
        return shapes[0]

    def states(self, endpoint: Endpoint, direction: Direction) -> list[dict[str, Any]]:
        """What each linkem that runs for the direction says of itself (``docs/programs.md``), its receiver's name among
        it (``receiver``)."""

        def state(arrival: Endpoint) -> dict[str, Any] | None:
            said = _Queue(endpoint, direction, arrival).state()
            return said and {**said, "receiver": arrival.node}

        return [found for found in _in_parallel(state, _arrivals(endpoint, direction)) if found is not None]

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        """Remove our rules, then end linkem: what waits goes on at once."""
        _in_parallel(lambda arrival: _Queue(endpoint, direction, arrival).remove(), _visited(endpoint, direction))


class _Queue:
    """One direction of ``endpoint`` as it arrives at ``arrival``: a queue number, rules, a linkem."""

    def __init__(self, endpoint: Endpoint, direction: Direction, arrival: Endpoint) -> None:
        self._arrival = arrival
        self._table = _TABLES[direction]
        self._label = f"{endpoint.node}/{endpoint.network}/{direction}"
        self._seed = crc32(self._label.encode())
        self._sources: list[str | None] = [None]
        if direction == "up":
            self._sources = [f"{endpoint.address}/32", *filter(None, [endpoint.emulated_prefix])]

    def shape(self, shape: Shape) -> None:
        rules = self._rules()
        number, state = self._emulator(rules)
        flags = _flags(shape, self._seed)
        if state is not None:
            self._ask(number, "change", flags, required=True)
        else:
            self._start(number, flags)
        for source in self._sources:
            if source not in rules:
                self._iptables("-A", source, number)

    def hold(self) -> None:
        if self.read_back() is None:
            self.shape(Shape())

    def plan(self, shape: Shape, at_ns: int) -> Asker:
        number, _ = self._emulator({})  # held, so the linkem is there: rules need not be listed, which takes its time
        flags = _flags(shape, self._seed)
        command = ["linkem", "--queue", str(number), "--ask", "change", "--at", str(at_ns), *flags]
        return Asker(self._arrival.place.start(command), self._label)

    def read_back(self) -> Shape | None:
        rules = self._rules()
        _, state = self._emulator(rules)
        if state is None and not rules:
            return None
        if state is None:
            raise RuntimeFault(f"{self._label}: linkem is not running any more, so its traffic is stopped")
        if not rules.keys() >= set(self._sources):
            raise RuntimeFault(f"{self._label}: the iptables rule is gone, so its traffic is not shaped")
        return read_shape(state["shape"], self._seed)

    def state(self) -> dict[str, Any] | None:
        return self._emulator(self._rules())[1]

    def remove(self) -> None:
        rules = self._rules()
        number, state = self._emulator(rules)
        while rules:
            for source, queue in rules.items():
                self._iptables("-D", source, queue)
            rules = self._rules()
        if state is not None:
            self._ask(number, "stop")

    def _emulator(self, rules: Mapping[str | None, int]) -> tuple[int, dict[str, Any] | None]:
        """The queue number, and what the linkem there says; None when none of ours runs.

        It is the number in our rules, or else the first that no other link's linkem has.
        """
        first = self._seed % _QUEUES
        numbers = [*rules.values()][:1] or [_FIRST_QUEUE + (first + step) % _QUEUES for step in range(_TRIES)]
        for number in numbers:
            state = self._ask(number, "show")
            if state is None or state["label"] == self._label:
                return number, state
        if rules:
            return numbers[0], None
        raise RuntimeFault(f"{self._label}: the packet queues {numbers[0]} to {numbers[-1]} are taken by other links")

    def _rules(self) -> dict[str | None, int]:
        """Our rules: whose packets (None: everybody's) go to which queue.

        A table that nobody has used is not asked: asking makes its hooks, through which every packet goes from then on.
        """
        tables = self._arrival.place.run(["cat", "/proc/net/ip_tables_names"])
        if self._table not in tables.stdout.split():
            return {}
        done = self._arrival.place.run(_listing(self._table))
        if done.status != 0:
            raise RuntimeFault(f"{self._label}: iptables-legacy: {done.stderr.strip()[:300]}")
        found: dict[str | None, int] = {}
        for line in done.stdout.splitlines():
            words = shlex.split(line)
            if f"{_COMMENT}:{self._label}" in words and "--queue-num" in words:
                source = words[words.index("-s") + 1] if "-s" in words else None
                found[source] = int(words[words.index("--queue-num") + 1])
        return found

    def _start(self, number: int, flags: Sequence[str]) -> None:
        process = self._arrival.place.start(["linkem", "--queue", str(number), "--label", self._label, *flags])
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            for line in process.lines(timeout_s=0.2):
                report = json.loads(line)
                if report["type"] == "ready":
                    return
                raise RuntimeFault(f"{self._label}: linkem: {report.get('message', line)}")
        process.signal("KILL")
        raise RuntimeFault(f"{self._label}: linkem did not start: {process.stderr().strip()[:300]}")

    def _ask(
        self, number: int, question: str, flags: Sequence[str] = (), required: bool = False
    ) -> dict[str, Any] | None:
        """linkem's answer; None when none runs, unless one must."""
        done = self._arrival.place.run(["linkem", "--queue", str(number), "--ask", question, *flags])
        answer: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {"type": "error"}
        if done.status == 0 and answer["type"] == "state":
            return answer
        if required or done.status not in (0, 1):
            raise RuntimeFault(f"{self._label}: linkem: {answer.get('message') or done.stderr.strip()[:300]}")
        return None

    def _iptables(self, action: str, source: str | None, number: int) -> None:
        rule = ["-i", self._arrival.interface, *(["-s", source] if source else [])]
        rule += ["-m", "comment", "--comment", f"{_COMMENT}:{self._label}", "-j", "NFQUEUE", "--queue-num", str(number)]
        command = ["iptables-legacy", *_LOCK_FLAGS, "-t", self._table, action, "PREROUTING", *rule]
        done = self._arrival.place.run(command)
        if done.status != 0:
            raise RuntimeFault(f"{self._label}: iptables-legacy: {done.stderr.strip()[:300]}")


def _listing(table: str) -> list[str]:
    return ["iptables-legacy", *_LOCK_FLAGS, "-t", table, "-S", "PREROUTING"]


def _unseen_copies(endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
    """A copy comes in again through the loopback interface, past the rule of its receiver's ``down``: an ``up`` that
    repeats and a ``down`` cannot meet."""

    def meets(other: Endpoint) -> bool:
        if direction == "up":
            return _Queue(other, "down", other).state() is not None
        state = _Queue(other, "up", endpoint).state()
        return state is not None and state["shape"]["duplicate"] > 0

    if direction == "up" and not shape.duplicate_percent:
        return None
    others = endpoint.neighbours if endpoint.visited is None else endpoint.visited
    met = [other.node for other, does in zip(others, _in_parallel(meets, others), strict=True) if does]
    if not met:
        return None
    what = (
        f"duplicate up, beside {met[0]}'s down"
        if direction == "up"
        else f"down, where what {met[0]} sends is duplicated"
    )
    return f"{what} (copies would pass a userspace down by)"


def _arrivals(endpoint: Endpoint, direction: Direction) -> Sequence[Endpoint]:
    """Where packets of the direction arrive."""
    return (endpoint,) if direction == "down" else endpoint.neighbours


def _visited(endpoint: Endpoint, direction: Direction) -> Sequence[Endpoint]:
    """Those of them where something of ours may be."""
    known = direction == "up" and endpoint.visited is not None
    return (endpoint.visited or ()) if known else _arrivals(endpoint, direction)


def _in_parallel(work: Callable[[Endpoint], T], arrivals: Sequence[Endpoint]) -> list[T]:
    """One thread a receiver: each command in a container takes tens of milliseconds."""
    if not arrivals:
        return []
    with ThreadPoolExecutor(min(_WORKERS, len(arrivals)), thread_name_prefix="link") as pool:
        return list(pool.map(work, arrivals))


def _flags(shape: Shape, default_seed: int) -> list[str]:
    """linkem's flags. Without a seed every link has its own, always the same: links must not lose in step."""
    return [word for name, value in shape_words(shape, default_seed).items() for word in (f"--{name}", value)]


BACKENDS.register(Userspace.name, Userspace())
