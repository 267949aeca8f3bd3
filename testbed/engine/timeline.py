"""The timeline of a scenario under its points: links change at their moments, and are put back afterwards.

All is prepared before the load starts: who shapes stands in place and lets everything through, sockets are open,
programs wait. Whatever ends a point, its links become what they were declared to be; a run that was killed leaves a
note in the lab, by which the next one does it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter

from testbed.engine.interrupts import uninterrupted
from testbed.engine.lab import Lab
from testbed.errors import RunError, UsageError
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.carrier import Carrier
from testbed.link.choose import Choice, choose_all, differences
from testbed.link.lab_links import LabLinks
from testbed.link.timed import Planned
from testbed.model.link_report import LinkReport
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape
from testbed.model.timeline import LinkChange

_NS_PER_S = 1_000_000_000
_OUTCOME_TIMEOUT_S = 5.0
_ARMING_S = 0.15
"""For each change of shape, a program or several may have to be started."""

_NOTE = "timeline.json"
_CHANGES: TypeAdapter[tuple[LinkChange, ...]] = TypeAdapter(tuple[LinkChange, ...])


@dataclass
class _ShapedLink:
    """A link of the timeline whose shape changes. ``choices`` are those of each of its changes, and of what it was."""

    endpoint: Endpoint
    declared: LinkShape
    choices: dict[str, dict[Direction, Choice]]

    def backends(self, direction: Direction) -> list[str]:
        """All that any of its shapes needs."""
        return sorted({name for choice in self.choices.values() for name, _ in choice[direction].parts})

    def plan(self, shape: LinkShape, at_ns: int) -> Iterator[Planned]:
        """Every backend that it has is told its part, which may be nothing."""
        for direction in DIRECTIONS:
            parts = dict(self.choices[shape.text()][direction].parts)
            for name in self.backends(direction):
                yield BACKENDS.get(name).plan(self.endpoint, direction, parts.get(name, Shape()), at_ns)


class Timeline:
    """See the module's text. A context manager; with no changes it does nothing.

    Raises UsageError for a link that the lab does not have and for a shape that the load would not see, and
    EnvironmentLack where something cannot be done on this machine. Nothing is changed to find out.
    """

    def __init__(self, lab: Lab, changes: Sequence[LinkChange]) -> None:
        self._changes = tuple(sorted(changes, key=lambda change: change.at_s))
        self._carriers: dict[str, Carrier] = {}
        self._shaped: dict[str, _ShapedLink] = {}
        self.reports: tuple[LinkReport, ...] = ()
        if changes:
            self._lab = lab
            self._links = LabLinks(lab.runtime, lab.placed)
            for change in self._changes:
                self._resolve(change)

    def __enter__(self) -> Self:
        if self._changes:
            self._note(self._changes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for carrier in self._carriers.values():
            carrier.close()
        if self._changes:
            self._note(())

    def measure(self) -> None:
        """Measure each shape that the timeline will set, as declared links are before the first point: ``reports``."""
        found: list[LinkReport] = []
        for name, link in self._shaped.items():
            changes = [change for change in self._changes if change.link == name and change.state is None]
            wanted = {change.shape(link.declared) for change in changes}
            for shape in sorted(wanted - {link.declared}, key=LinkShape.text):
                with self.held(), ExitStack() as stack:
                    for planned in link.plan(shape, time.monotonic_ns()):
                        stack.callback(planned.cancel)
                        planned.outcome(_OUTCOME_TIMEOUT_S)
                    touched = [direction for direction in DIRECTIONS if shape.toward(direction).touches]
                    choices = link.choices[shape.text()]
                    found += (
                        report.model_copy(update={"why": choices[report.direction].text})
                        for report in self._links.test(link.endpoint, None, touched, declared=shape)
                    )
        self.reports = tuple(found)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Everything in place for changes to come; at the end all links are what they were declared to be."""
        try:
            with uninterrupted():
                for link in self._shaped.values():
                    for direction in DIRECTIONS:
                        for name in link.backends(direction):
                            BACKENDS.get(name).hold(link.endpoint, direction)
            yield
        finally:
            self.put_back()

    def put_back(self) -> None:
        """Make all links what they were declared to be. Raises RunError when one cannot be; the others are."""
        problems: list[str] = []
        with uninterrupted():
            for carrier in self._carriers.values():
                _attempt(problems, partial(carrier.set, True))
            for link in self._shaped.values():
                _attempt(problems, partial(self._links.put_back, link.endpoint))
        if problems:
            raise RunError(f"a link that the timeline changed cannot be put back: {problems[0]}")

    @property
    def arming_s(self) -> float:
        """How much longer the start of a point may take for it."""
        return _ARMING_S * sum(change.state is None for change in self._changes)

    def arm(self, stack: ExitStack, start_ns: int) -> Armed:
        """Let the changes come, counted from the start of the load; those that have not come are taken back with
        ``stack``."""
        armed = Armed(start_ns)
        stack.callback(armed.cancel)
        with uninterrupted():  # none may come that nobody knows of
            for change in self._changes:
                for planned in self._plan(change, start_ns + round(change.at_s * _NS_PER_S)):
                    armed.add(change, planned)
        return armed

    def off(self) -> list[str]:
        """After the last change: what is not as the timeline left it, and what was measured off, one line each."""
        reasons = [
            f"link {report.node} {report.network} {report.direction} is off when the timeline makes it "
            f"`{report.declared.text()}`: {'; '.join(report.deviations)}"
            for report in self.reports
            if report.verdict == "off"
        ]
        for name, carrier in self._carriers.items():
            states = [change.state for change in self._changes if change.link == name and change.state]
            try:
                now = "up" if carrier.is_up() else "down"
            except RunError as error:
                reasons.append(f"{name} broke: {error}")
                continue
            if now != states[-1]:
                reasons.append(f"{name} is now {now}, the timeline left it {states[-1]}")
        for name, link in self._shaped.items():
            changes = [change for change in self._changes if change.link == name and change.state is None]
            reasons += differences(link.endpoint, changes[-1].shape(link.declared), "the timeline left")
        return reasons

    def carrier_changes(self, node: str) -> int:
        """How often the timeline takes a carrier of the node away and gives it back."""
        count = 0
        for name in self._carriers:
            states = ["up", *(change.state for change in self._changes if change.link == name and change.state)]
            if name.startswith(f"{node}/"):
                count += sum(before != after for before, after in pairwise(states))
        return count

    def _plan(self, change: LinkChange, at_ns: int) -> Iterator[Planned]:
        if change.state is not None:
            yield self._carriers[change.link].plan(change.state == "up", at_ns)
            return
        link = self._shaped[change.link]
        yield from link.plan(change.shape(link.declared), at_ns)

    def _resolve(self, change: LinkChange) -> None:
        try:
            endpoint = self._endpoint(change)
        except UsageError as error:
            raise UsageError(f"timeline: `{change.text()}`: {error}") from None
        if change.state is not None:
            if change.link not in self._carriers:
                cable = self._links.cable(endpoint)
                index = cable.bridge if change.node is None else cable.port
                self._carriers[change.link] = Carrier(cable.namespace, index)
            return
        if change.link not in self._shaped:
            kept = self._links.remember(endpoint)
            before = choose_all(endpoint, kept.shape, kept.backend)
            self._shaped[change.link] = _ShapedLink(endpoint, kept.shape, {kept.shape.text(): before})
        self._choose(change, self._shaped[change.link])

    def _endpoint(self, change: LinkChange) -> Endpoint:
        """The link's endpoint; for a whole network that of any node on it."""
        if change.node is not None:
            return self._links.endpoint(change.node, change.network)
        for node, network in self._links.names():
            if network == change.network:
                return self._links.endpoint(node, network)
        networks = ", ".join(network.name for network in self._lab.placed.networks)
        raise UsageError(f"lab {self._lab.name!r} has no network {change.network!r}: one of {networks}")

    def _choose(self, change: LinkChange, link: _ShapedLink) -> None:
        """Raises UsageError for what cannot be, or would not be seen."""
        shape = change.shape(link.declared)
        if shape.text() in link.choices:
            return
        where = f"timeline: `{change.text()}`"
        choices = choose_all(link.endpoint, shape, self._lab.link)
        for side, choice in choices.items():
            missed = self._links.miss_load(link.endpoint, side, choice) if choice.parts else ""
            if missed:
                raise UsageError(f"{where}: {side}: {missed}; shape the other direction alone, or the link's other end")
        link.choices[shape.text()] = choices
        for side in DIRECTIONS:
            names = link.backends(side)
            if len({BACKENDS.get(name).slot for name in names}) < len(names):
                raise UsageError(
                    f"{where}: {side} would need {' and '.join(names)} in turn: name one backend with --link"
                )

    def _note(self, changes: Sequence[LinkChange]) -> None:
        """Leave the timeline with the lab while its links may be otherwise than declared."""
        node = next(iter(self._links.names()))[0]
        self._links.sidecar(node).keep(_NOTE, _CHANGES.dump_json(tuple(changes)).decode())


class Armed:
    """The changes of one point, waiting or made."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._planned: list[tuple[LinkChange, list[Planned]]] = []

    def add(self, change: LinkChange, planned: Planned) -> None:
        """One part of a change."""
        if not self._planned or self._planned[-1][0] is not change:
            self._planned.append((change, []))
        self._planned[-1][1].append(planned)

    def cancel(self) -> None:
        """Take back what has not come. Raises RunError when something may still come."""
        problems: list[str] = []
        with uninterrupted():
            for _, parts in self._planned:
                for planned in parts:
                    _attempt(problems, planned.cancel)
        if problems:
            raise RunError(f"a change of the timeline cannot be taken back: {problems[0]}")

    def outcomes(self) -> list[dict[str, Any]]:
        """Of each change: ``declared_s, applied_s, late_ms`` from the start of the load, or ``error``."""
        return [self._outcome(change, parts) for change, parts in self._planned]

    def _outcome(self, change: LinkChange, parts: Sequence[Planned]) -> dict[str, Any]:
        facts: dict[str, Any] = {"link": change.link, "change": change.text(), "declared_s": change.at_s}
        try:
            applied_ns = max(planned.outcome(_OUTCOME_TIMEOUT_S) for planned in parts)
        except RunError as error:
            return {**facts, "applied_s": None, "late_ms": None, "error": str(error)}
        applied_s = (applied_ns - self._start_ns) / _NS_PER_S
        return {**facts, "applied_s": applied_s, "late_ms": 1e3 * (applied_s - change.at_s), "error": None}


def unfinished(lab: Lab) -> tuple[LinkChange, ...]:
    """The timeline of a run that is under way, or was killed and left links changed; () without one."""
    links = LabLinks(lab.runtime, lab.placed)
    note = links.sidecar(next(iter(links.names()))[0]).kept(_NOTE)
    return _CHANGES.validate_json(note) if note else ()


def put_back_unfinished(lab: Lab) -> bool:
    """Put back the links that a killed run left changed; whether there were any."""
    changes = unfinished(lab)
    if not changes:
        return False
    with Timeline(lab, changes) as timeline:
        timeline.put_back()
    return True


def _attempt(problems: list[str], work: Any) -> None:
    """Do it; what fails must not keep the rest from being done."""
    try:
        work()
    except RunError as error:
        problems.append(str(error))
