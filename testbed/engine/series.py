"""Turns the ``interval`` lines of the clients into counts per interval."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from testbed.engine.program import Line
from testbed.model.intervals import Counts, Intervals

_NAMES = ("started", "replies", "errors")


def intervals_of(
    clients: Mapping[str, Sequence[Sequence[Line]]], start_ns: int, load_s: float, interval_s: float
) -> Intervals:
    """``clients``: network → for each client its lines, counts since its start with the time of each, the last ones
    from its summary. A count at the edge of an interval lies on the straight line between the two lines around it;
    that at the end of the load, when nothing more is started, is the next line's if it is no half interval late."""
    number = max(1, math.ceil(load_s / interval_s - 1e-9))
    edges_ns = [start_ns + round(min(index * interval_s, load_s) * 1e9) for index in range(number + 1)]
    return Intervals(
        interval_s=interval_s,
        networks={
            network: Counts(
                **{
                    name: _summed([_at_edges(lines, name, edges_ns, start_ns, interval_s / 2 * 1e9) for lines in each])
                    for name in _NAMES
                }
            )
            for network, each in clients.items()
        },
    )


def _at_edges(lines: Sequence[Line], name: str, edges_ns: Sequence[int], start_ns: int, slack_ns: float) -> list[float]:
    """The count at each edge."""
    times, counts = [start_ns], [0.0]
    for line in lines:
        if line["now_ns"] > times[-1]:
            times.append(int(line["now_ns"]))
            counts.append(float(line[name]))
    found = []
    for edge in edges_ns:
        after = bisect_right(times, edge)
        if after == len(times):
            found.append(counts[-1])
            continue
        share = (edge - times[after - 1]) / (times[after] - times[after - 1])
        if edge == edges_ns[-1] and times[after] - edge < slack_ns:
            share = 1.0
        found.append(counts[after - 1] + share * (counts[after] - counts[after - 1]))
    return found


def _summed(each: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Whole numbers whose sums stay right: rounded where they are counted up, then taken apart."""
    whole = [round(sum(counts)) for counts in zip(*each, strict=True)]
    return tuple(after - before for before, after in pairwise(whole))
