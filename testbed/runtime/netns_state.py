"""What stands of the netns labs, kept where every later process finds it: one small file per network and node.

A record is written before the thing that it names is made, so a process that dies at any point leaves nothing unknown.
The folder is emptied by a restart of the machine, which ends every namespace too.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from testbed.errors import RuntimeFault
from testbed.model.placed import PlacedNetwork, PlacedNode
from testbed.model.value import Value

FOLDER = Path("/run/testbed")
NAMESPACES = Path("/run/netns")
_STEM = "netns-"
"""Other files of a lab may stand in the same folder: only these are records."""


class NetworkRecord(Value):
    """A network: a bridge in the lab's switch namespace."""

    lab: str
    network: PlacedNetwork


class NodeRecord(Value):
    """A node. ``namespace`` is the name of its network namespace, which is another node's if it shares that one's.

    ``holder`` is the process that keeps the node's other namespaces, with its start time (clock ticks since boot: a
    reused number is not the same process); None while the node is being made.
    """

    lab: str
    placed: PlacedNode
    namespace: str
    groups: tuple[str, ...] = ()
    holder: tuple[int, int] | None = None


Record = TypeVar("Record", bound=Value)


def switch_name(lab: str) -> str:
    """The network namespace that has the lab's bridges."""
    return f"tb-{lab}"


def namespace_path(lab: str, node: PlacedNode) -> Path:
    """The network namespace of a node, its own or another node's, as ``ip netns list`` shows it.

    A colon, which no name of ours has: with a dash lab "a" with node "b-c" would meet lab "a-b" with node "c".
    """
    return NAMESPACES / f"tb-{lab}:{node.node.shares_network_of or node.name}"


def lab_folder(lab: str) -> Path:
    """The folder of a lab; made when it is first asked for, for root alone."""
    folder = FOLDER / lab
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def labs() -> list[str]:
    """Labs of which anything is recorded."""
    return sorted({path.parent.name for path in FOLDER.glob(f"*/{_STEM}*.json")})


def save(record: NetworkRecord | NodeRecord) -> None:
    """Write or replace a record; a reader sees the old one or the new one."""
    path = _path(record)
    partial = path.with_suffix(".partial")
    partial.write_text(record.model_dump_json(), encoding="utf-8")
    partial.replace(path)


def networks(lab: str) -> list[NetworkRecord]:
    """The networks of a lab, by name, as far as they can be read."""
    return [record for path in _paths(lab, "network") if (record := _read(path, NetworkRecord)) is not None]


def nodes(lab: str) -> list[NodeRecord]:
    """The nodes of a lab, by name, as far as they can be read."""
    return [record for path in _paths(lab, "node") if (record := _read(path, NodeRecord)) is not None]


def unreadable(lab: str) -> list[tuple[str, str]]:
    """Kind and name of what another version of testbed recorded: such a lab can be removed, and nothing else."""
    kinds: tuple[tuple[str, type[Value]], ...] = (("network", NetworkRecord), ("node", NodeRecord))
    return [
        (kind, path.stem.removeprefix(f"{_STEM}{kind}-"))
        for kind, of in kinds
        for path in _paths(lab, kind)
        if path.exists() and _read(path, of) is None
    ]


def namespaces(lab: str) -> list[str]:
    """The network namespaces of a lab that stand, by their names alone; none if nothing of the lab is recorded."""
    if lab not in labs() or not NAMESPACES.is_dir():
        return []
    names = [path.name for path in NAMESPACES.iterdir()]
    return sorted(name for name in names if name == switch_name(lab) or name.startswith(f"{switch_name(lab)}:"))


def node(lab: str, name: str) -> NodeRecord:
    """The record of a node. Raises RuntimeFault if there is none."""
    path = FOLDER / lab / f"{_STEM}node-{name}.json"
    if not path.exists():
        raise RuntimeFault(f"there is no node {name!r} in lab {lab!r}")
    record = _read(path, NodeRecord)
    if record is None:
        raise RuntimeFault(f"node {name!r} of lab {lab!r} was made by another version of testbed: take the lab down")
    return record


def forget(lab: str, node: str | None = None) -> None:
    """Remove everything that is recorded of a lab, or of one node; fine if there is nothing."""
    folder = FOLDER / lab
    if node is None:
        if folder.exists():
            shutil.rmtree(folder)
        return
    (folder / f"{_STEM}node-{node}.json").unlink(missing_ok=True)
    hosts_file(lab, node).unlink(missing_ok=True)
    if root_folder(lab, node).exists():
        root_folder(lab, node).rmdir()


def root_folder(lab: str, node: str) -> Path:
    """The empty folder over which a node builds its root, in mounts of its own."""
    return FOLDER / lab / f"{node}.root"


def hosts_file(lab: str, node: str) -> Path:
    """A node's /etc/hosts."""
    return FOLDER / lab / f"{node}.hosts"


def _path(record: NetworkRecord | NodeRecord) -> Path:
    kind, name = ("node", record.placed.name) if isinstance(record, NodeRecord) else ("network", record.network.name)
    return lab_folder(record.lab) / f"{_STEM}{kind}-{name}.json"


def _paths(lab: str, kind: str) -> Sequence[Path]:
    return sorted((FOLDER / lab).glob(f"{_STEM}{kind}-*.json"))


def _read(path: Path, kind: type[Record]) -> Record | None:
    """None for what another version wrote, and for what is being removed just now."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, FileNotFoundError):
        return None
