"""Whether a saved run may be gone on with: what decides its numbers must be what it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed.errors import UsageError
from testbed.model.manifest import Manifest

_HOST = ("kernel", "machine", "cpu_model", "cpus", "mitigations")
_RUNTIME = ("name", "engine")
_PATHS = ("switched", "steered")
_NODE = ("node", "cpuset")


def check_same(folder: Path, there: Manifest, now: Manifest) -> None:
    """Raises UsageError that names the first thing in which the run in ``folder`` differs from what would go on.

    What a bring-up chooses anew may differ: subnets, addresses, the lab's name. Claims too: they only judge.
    """
    for what, was, is_now in _compared(there, now):
        if was != is_now:
            change = f" ({was}; now {is_now})" if isinstance(was, str | int | bool | None) else ""
            raise UsageError(
                f"{folder} holds another {what}{change}: a run is resumed with what it was started with, "
                "or its points cannot be compared"
            )


def _compared(there: Manifest, now: Manifest) -> Iterator[tuple[str, Any, Any]]:
    files = there.scenario.get("workload_digest")
    if files is not None:  # older runs have the names of the files alone
        yield "content of the workload's files", files, now.scenario.get("workload_digest")
    yield "scenario", _measured(there.scenario), _measured(now.scenario)
    yield "profile", there.profile, now.profile
    yield "seed", there.seed, now.seed
    for kind, names, was, is_now in (
        ("host", _HOST, there.host, now.host),
        ("runtime", _RUNTIME, there.runtime, now.runtime),
        ("paths", _PATHS, there.paths, now.paths),
    ):
        for name in names:
            yield f"{kind}: {name}", was.get(name), is_now.get(name)
    yield "topology", _world(there.topology), _world(now.topology)
    yield "link backend", _backends(there), _backends(now)
    for name in sorted(there.programs.keys() & now.programs.keys()):
        was_made, made = there.programs[name].identity, now.programs[name].identity
        if was_made:  # older runs have declared names alone
            yield f"program of {name}", was_made, made


def _measured(scenario: dict[str, Any]) -> dict[str, Any]:
    """What decides what is measured: claims only judge it, and may have changed since. Files are compared apart."""
    return {name: value for name, value in scenario.items() if name not in ("claims", "workload_digest")}


def _world(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes as declared, with their CPUs."""
    return [{field: node.get(field) for field in _NODE} for node in topology.get("nodes", ())]


def _backends(manifest: Manifest) -> str:
    """Which backend did each shaped direction."""
    used = {f"{link['node']} {link['network']} {link['direction']}: {link['backend']}" for link in manifest.links}
    return "; ".join(sorted(used)) or "none"
