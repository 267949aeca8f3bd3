"""Sorts points by what stood beside the servers: idle connections, access links, or neither.

Points that differ in it are different experiments. No line and no mean may join them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.model.record import Record
from testbed.store.reading import Run

_Key = tuple[bool, bool, int]
"""Access links; then idle connections or none; then how many, or the rank of as many as the rate has them."""


@dataclass(frozen=True)
class Beside:
    """Points with the same beside them, at whatever rate. ``name`` says in a few words what that was."""

    name: str
    records: tuple[Record, ...]


def beside(run: Run, records: Sequence[Record]) -> list[Beside]:
    """The records by what stood beside the servers: without anything first, then idle connections, then access links.

    Idle connections that stand in for slow ones are as many as the rate has them, another number at each rate: the
    n-th smallest population of each rate makes the n-th of these.
    """
    populations: dict[float, set[int]] = defaultdict(set)
    for record in records:
        if record.surrounding == "idle":
            populations[record.offered_per_s].add(record.idle_connections)
    ranked = any(record.access for record in records)
    found: dict[_Key, list[Record]] = defaultdict(list)
    for record in records:
        count = record.idle_connections
        if ranked and record.surrounding == "idle":
            count = sorted(populations[record.offered_per_s]).index(count)
        found[bool(record.access), bool(record.idle_connections), count].append(record)
    what = "slow readers" if run.manifest.scenario.get("idle_mode") == "slow-reader" else "idle connections"
    return [Beside(_name(found[key], what, ranked), tuple(found[key])) for key in sorted(found)]


def _name(records: Sequence[Record], what: str, ranked: bool) -> str:
    counts = [record.idle_connections for record in records]
    low, high = min(counts), max(counts)
    many = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    idle = f"{many} {what}" if high else f"no {what}"
    if not ranked:
        return idle
    links = records[0].access or "fast links"
    return f"{links},\n{idle}" if high or not records[0].access else links
