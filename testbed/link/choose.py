"""Which backend does which part of a shape, and why; and putting a whole endpoint under its shape.

``auto`` asks the backends in the order of their preference, and each gets the part that it can do: netem all of it
where the kernel has it; else tbf the rate and userspace the rest. A named backend does all of it or refuses by name.
What the chosen ones leave is never dropped: it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.errors import EnvironmentLack, RunError, RuntimeFault, UsageError
from testbed.link.base import AUTO, BACKENDS, Endpoint, LinkBackend
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape

_BURST_TOLERANCE = 0.01
"""The kernel keeps a bucket as the time that it takes to fill, in ticks of 64 ns."""


@dataclass(frozen=True)
class Choice:
    """Parts of a direction's shape with the backend of each, and the reason in one line."""

    parts: tuple[tuple[str, Shape], ...]
    reason: str

    @property
    def names(self) -> str:
        """The backends, as they are recorded: "tbf + userspace"; "none" for an unshaped direction."""
        return " + ".join(name for name, _ in self.parts) or "none"

    @property
    def text(self) -> str:
        """Names and reason."""
        return f"{self.names}: {self.reason}"


def checked_backend(name: str) -> str:
    """The name of a backend, or "auto". Raises UsageError that lists what there is."""
    if name != AUTO:
        BACKENDS.get(name)
    return name


def choose(endpoint: Endpoint, direction: Direction, shape: Shape, name: str = AUTO) -> Choice:
    """Raises UsageError when the named backend refuses, EnvironmentLack when none can work here."""
    if not shape.touches:
        return Choice((), "nothing is shaped")
    if name != AUTO:
        return _named(endpoint, direction, shape, name)
    rest, parts, reasons = shape, [], []
    for backend in sorted(backends_of(endpoint).values(), key=lambda backend: backend.preference):
        part = backend.part(rest)
        objection = _objection(backend, endpoint, direction, part if part.touches else rest)
        if objection is None:
            parts.append((backend.name, part))
            rest = _without(rest, part)
        else:
            reasons.append(f"not {backend.name}: {objection}")
        if not rest.touches:
            return Choice(tuple(parts), "; ".join(reasons) or "it can do all of it")
    raise EnvironmentLack(
        f"{endpoint.name} {direction}: no backend can do `{rest.text()}` ({'; '.join(reasons)})",
        "a kernel with sch_netem, or with nfnetlink_queue and iptables-legacy in the node's sidecar",
    )


def choose_all(endpoint: Endpoint, declared: LinkShape, name: str = AUTO) -> dict[Direction, Choice]:
    """The choice of each direction. Raises as ``choose`` does."""
    return {direction: choose(endpoint, direction, declared.toward(direction), name) for direction in DIRECTIONS}


def apply(endpoint: Endpoint, declared: LinkShape, name: str = AUTO) -> dict[Direction, Choice]:
    """Put both directions under their shapes and read them back. All is chosen before anything is changed.

    Raises as ``choose`` and ``put`` do.
    """
    choices = choose_all(endpoint, declared, name)
    put(endpoint, declared, choices)
    return choices


def put(endpoint: Endpoint, declared: LinkShape, choices: Mapping[Direction, Choice]) -> None:
    """Put both directions under the shapes that were chosen for, and read them back.

    The new shape is set before an older one of another backend goes: nothing passes unshaped. Raises RuntimeFault when
    what is read back is not what was declared.
    """
    backends = backends_of(endpoint)
    for direction in DIRECTIONS:
        parts = choices[direction].parts
        for name, part in parts:
            backends[name].apply(endpoint, direction, part)
        for name in backends.keys() - {name for name, _ in parts}:
            backends[name].remove(endpoint, direction)
        found = read_back(endpoint, direction)
        if not same(declared.toward(direction), found):
            raise RuntimeFault(
                f"{endpoint.name} {direction}: declared `{declared.toward(direction).text()}`, "
                f"read back `{found.text()}`"
            )


def backends_of(endpoint: Endpoint) -> dict[str, LinkBackend]:
    """By name, those that can shape it: all of the registry, unless it has one of its own."""
    if endpoint.own is not None:
        return {endpoint.own.name: endpoint.own}
    return {name: BACKENDS.get(name) for name in BACKENDS.names()}


def read_back(endpoint: Endpoint, direction: Direction) -> Shape:
    """What all backends together have set there; an empty Shape if nothing. Raises RuntimeFault for broken ones."""
    return merged(set_by(endpoint, direction))


def merged(parts: Sequence[tuple[str, Shape]]) -> Shape:
    """The parts of several backends as one shape."""
    whole: dict[str, object] = {}
    for _, shape in parts:
        whole |= {field: value for field, value in shape if value != Shape.model_fields[field].default}
    return Shape.model_validate(whole)


def set_by(endpoint: Endpoint, direction: Direction) -> list[tuple[str, Shape]]:
    """Each backend that has set something there, with what."""
    found = ((name, backend.read_back(endpoint, direction)) for name, backend in backends_of(endpoint).items())
    return [(name, shape) for name, shape in found if shape is not None]


def reset(endpoint: Endpoint) -> None:
    """Remove everything that any backend made at the endpoint."""
    for direction in DIRECTIONS:
        for backend in backends_of(endpoint).values():
            backend.remove(endpoint, direction)


def same(declared: Shape, found: Shape) -> bool:
    """Whether what was read back is what was declared: rates in whole bytes a second, times in whole ticks."""
    for field in Shape.model_fields:
        left, right = getattr(declared, field), getattr(found, field)
        if field == "rate_bps" and left and right:
            left, right = left // 8, right // 8
        if field == "burst_bytes" and left and right and abs(left - right) <= max(1, _BURST_TOLERANCE * left):
            continue
        if left != right:
            return False
    return True


def differences(endpoint: Endpoint, wanted: LinkShape, by: str) -> list[str]:
    """What is not as wanted now, a line for each direction that broke or has another shape; ``by``: who wants it."""
    found = []
    for direction in DIRECTIONS:
        name, shape = f"link {endpoint.node} {endpoint.network} {direction}", wanted.toward(direction)
        try:
            now = read_back(endpoint, direction)
        except RunError as error:
            found.append(f"{name} broke: {error}")
            continue
        if not same(shape, now):
            found.append(f"{name} is now `{now.text()}`, {by} `{shape.text()}`")
    return found


def _named(endpoint: Endpoint, direction: Direction, shape: Shape, name: str) -> Choice:
    backend = backends_of(endpoint).get(name) or BACKENDS.get(name)
    lack = backend.lack(endpoint, direction)
    if lack is not None:
        raise EnvironmentLack(f"{endpoint.name}: {name} cannot work here: {lack}", "--link auto takes what works")
    refused = backend.refuse(endpoint, direction, shape)
    if refused is not None:
        raise UsageError(f"{endpoint.name}: {name} cannot do this exactly: {refused}; --link auto takes what can")
    return Choice(((name, shape),), f"asked for {name}")


def _objection(backend: LinkBackend, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
    return backend.lack(endpoint, direction) or backend.refuse(endpoint, direction, shape)


def _without(shape: Shape, part: Shape) -> Shape:
    """What is left of it."""
    nothing = Shape()
    done = {
        name: getattr(nothing, name) for name in Shape.model_fields if getattr(part, name) != getattr(nothing, name)
    }
    return shape.model_copy(update=done)
