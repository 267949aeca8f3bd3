"""Which runs may be held against each other: those that measured the same, those on the same machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from testbed.errors import UsageError
from testbed.model.manifest import Manifest
from testbed.store.reading import Run

_HOST = ("cpu_model", "cpus", "idle_states", "kernel", "mitigations")
_PATHS = ("switched", "steered")
_NOT_MEASURED = ("title", "sentence", "figures", "claims")
"""Fields of a scenario that only say what is made of the points."""
_HOW_MANY = ("rates_per_s", "repetitions")
"""Fields of a profile that say which points there are, and not what one of them is."""


def check_poolable(runs: Sequence[Run]) -> None:
    """Raises UsageError that names the first field in which two runs differ that are to be judged together.

    Rates, repetitions, seeds and the lab's name and addresses may differ; what a point is, the machine, the programs
    and the paths may not.
    """
    for run in runs[1:]:
        for field, first, other in differences(measured(runs[0].manifest), measured(run.manifest)):
            raise UsageError(
                f"{runs[0].folder} and {run.folder} cannot be judged together: {field} is {first!r} and {other!r}"
            )


def elsewhere(run: Run, other: Run) -> list[str]:
    """The facts of machine and paths in which runs of two scenarios differ; none where they can be compared."""
    return [field for field, _, _ in differences(_where(run.manifest), _where(other.manifest), depth=2)]


def partners(runs: Sequence[Run], others: Sequence[Run]) -> list[Run | None]:
    """For each run one of the others, each of them used once: of those that can be compared the nearest in time.

    None where no other is left.
    """
    left = list(others)
    found: list[Run | None] = []
    for run in runs:
        best = min(left, key=lambda other: (bool(elsewhere(run, other)), _apart_s(run, other)), default=None)
        if best is not None:
            left.remove(best)
        found.append(best)
    return found


def _apart_s(run: Run, other: Run) -> float:
    began, other_began = (datetime.fromisoformat(each.manifest.started_at) for each in (run, other))
    return abs((began - other_began).total_seconds())


def measured(manifest: Manifest) -> dict[str, Any]:
    """What a point of the run is, with the machine, the programs and the paths."""
    scenario = {name: value for name, value in manifest.scenario.items() if name not in _NOT_MEASURED}
    profile = {name: value for name, value in manifest.profile.items() if name not in _HOW_MANY}
    placed = manifest.topology
    return {
        "scenario": scenario,
        "profile": profile,
        "topology": placed.get("topology"),
        "cpuset": {node["node"]["name"]: node["cpuset"] for node in placed.get("nodes", ())},
        "programs": {name: f"{each.image} {each.identity}".strip() for name, each in manifest.programs.items()},
        "link backend": {
            f"{link['node']} {link['network']} {link['direction']}": link["backend"] for link in manifest.links
        },
        **_where(manifest),
    }


def _where(manifest: Manifest) -> dict[str, Any]:
    return {
        "host": {name: manifest.host.get(name) for name in _HOST},
        "paths": {name: manifest.paths.get(name) for name in _PATHS},
        "runtime": {"name": manifest.runtime.get("name")},
    }


def differences(one: Any, other: Any, depth: int = 100, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, here, there) of what differs, not deeper than ``depth``; what only one side has is None there."""
    if one == other:
        return
    if depth and isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs = [(str(name), one.get(name), other.get(name)) for name in {**one, **other}]
    elif depth and isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = [(str(index), *both) for index, both in enumerate(zip_longest(one, other))]
    else:
        yield path, one, other
        return
    for name, here, there in pairs:
        yield from differences(here, there, depth - 1, f"{path}.{name}" if path else name)
