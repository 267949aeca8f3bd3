"""Which backend does which part of a shape, and why; and putting a whole endpoint under its shape.

``auto`` is netem where the kernel has it and can do the shape; else tbf for the rate and userspace for the rest. A
named backend does all of it or refuses by name. What the chosen ones leave is never dropped: it is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.errors import EnvironmentLack, RunError, RuntimeFault, UsageError
from testbed.link.base import AUTO, BACKENDS, Endpoint, LinkBackend
from testbed.model.shape import DIRECTIONS, Direction, LinkShape, Shape

_BURST_TOLERANCE = 0.01
"""The kernel keeps a bucket as the time that it takes to fill, in ticks of 64 ns."""

_RATE_FIELDS = ("rate_bps", "burst_bytes", "limit_pkts")


@dataclass(frozen=True)
class Choice:
    """Parts of a direction's shape with the backend of each, and the reason in one line."""

    parts: tuple[tuple[str, Shape], ...]
    reason: str

    @property
    def names(self) -> str:
        """The backends, as they are recorded: "tbf + userspace"; "none" for an unshaped direction."""
        return " + ".join(name for name, _ in self.parts) or "none"


def checked_backend(name: str) -> str:
    """The name of a backend, or "auto". Raises UsageError that lists what there is."""
    if name != AUTO:
        BACKENDS.get(name)
    return name


def choose(endpoint: Endpoint, direction: Direction, shape: Shape, name: str = AUTO) -> Choice:
    """Raises UsageError when the named backend refuses, EnvironmentLack when none can work here."""
    if not shape.touches:
        return Choice((), "nothing is shaped")
    if endpoint.own is not None and name == AUTO:
        return _named(endpoint, direction, shape, endpoint.own.name)
    if name != AUTO:
        return _named(endpoint, direction, shape, name)
    reasons: list[str] = []
    netem = _objection(BACKENDS.get("netem"), endpoint, direction, shape)
    if netem is None:
        return Choice((("netem", shape),), "the kernel has netem, and it can do all of it")
    reasons.append(f"not netem: {netem}")
    split = _split(shape)
    tbf = _objection(BACKENDS.get("tbf"), endpoint, direction, split[0]) if split[0].touches else "no rate is declared"
    rest = split[1] if tbf is None else shape
    parts: list[tuple[str, Shape]] = [("tbf", split[0])] if tbf is None else []
    if rest.touches:
        userspace = _objection(BACKENDS.get("userspace"), endpoint, direction, rest)
        if userspace is not None:
            raise EnvironmentLack(
                f"{endpoint.name}: no backend can do `{rest.text()}` ({'; '.join(reasons)}; "
                f"not userspace: {userspace})",
                "a kernel with sch_netem, or with nfnetlink_queue and iptables-legacy in the node's sidecar",
            )
        parts.append(("userspace", rest))
    return Choice(tuple(parts), "; ".join(reasons))


def apply(endpoint: Endpoint, declared: LinkShape, name: str = AUTO) -> dict[Direction, Choice]:
    """Put both directions under their shapes and read them back. All is chosen before anything is changed.

    Raises RuntimeFault when what is read back is not what was declared.
    """
    choices: dict[Direction, Choice] = {
        direction: choose(endpoint, direction, declared.toward(direction), name) for direction in DIRECTIONS
    }
    for direction in DIRECTIONS:
        used = {backend for backend, _ in choices[direction].parts}
        backends = backends_of(endpoint)
        for backend in backends.keys() - used:
            backends[backend].remove(endpoint, direction)
        for backend, part in choices[direction].parts:
            backends[backend].apply(endpoint, direction, part)
        found = read_back(endpoint, direction)
        if not same(declared.toward(direction), found):
            raise RuntimeFault(
                f"{endpoint.name} {direction}: declared `{declared.toward(direction).text()}`, "
                f"read back `{found.text()}`"
            )
    return choices


def backends_of(endpoint: Endpoint) -> dict[str, LinkBackend]:
    """By name, those that can shape it: all of the registry, unless it has one of its own."""
    if endpoint.own is not None:
        return {endpoint.own.name: endpoint.own}
    return {name: BACKENDS.get(name) for name in BACKENDS.names()}


def read_back(endpoint: Endpoint, direction: Direction) -> Shape:
    """What all backends together have set there; an empty Shape if nothing. Raises RuntimeFault for broken ones."""
    merged: dict[str, object] = {}
    for _, shape in set_by(endpoint, direction):
        merged |= {field: value for field, value in shape if value != Shape.model_fields[field].default}
    return Shape.model_validate(merged)


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
    refused = backend.refuse(shape)
    if refused is not None:
        raise UsageError(f"{endpoint.name}: {name} cannot do this exactly: {refused}; --link auto takes what can")
    return Choice(((name, shape),), f"asked for {name}")


def _objection(backend: LinkBackend, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
    return backend.refuse(shape) or backend.lack(endpoint, direction)


def _split(shape: Shape) -> tuple[Shape, Shape]:
    """The rate with its queue, and the rest."""
    rate = Shape(**{field: getattr(shape, field) for field in _RATE_FIELDS})
    return rate, shape.model_copy(update=dict.fromkeys(_RATE_FIELDS))
