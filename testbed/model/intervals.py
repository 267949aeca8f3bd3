"""What happened in each short interval of a point, network by network: the curve behind its rates."""

from __future__ import annotations

from testbed.model.value import Value


class Counts(Value):
    """One number an interval: connections started, replies that came, calls that failed (when they were given up)."""

    started: tuple[int, ...]
    replies: tuple[int, ...]
    errors: tuple[int, ...]


class Intervals(Value):
    """Intervals of ``interval_s`` from the start of the load, warm-up included, to its end. The last may be shorter.

    ``networks`` has the clients of each network by which they reach the server.
    """

    interval_s: float
    networks: dict[str, Counts]

    def total(self, name: str) -> list[int]:
        """``started``, ``replies`` or ``errors`` over all networks."""
        each = [getattr(counts, name) for counts in self.networks.values()]
        return [sum(values) for values in zip(*each, strict=True)]
