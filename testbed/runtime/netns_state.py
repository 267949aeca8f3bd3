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


Record = TypeVar("Record", NetworkRecord, NodeRecord)


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
    """The networks of a lab, by name."""
    return [_read(path, NetworkRecord) for path in _paths(lab, "network")]


def nodes(lab: str) -> list[NodeRecord]:
    """The nodes of a lab, by name."""
    return [_read(path, NodeRecord) for path in _paths(lab, "node")]


def node(lab: str, name: str) -> NodeRecord:
    """The record of a node. Raises RuntimeFault if there is none."""
    path = FOLDER / lab / f"{_STEM}node-{name}.json"
    if not path.exists():
        raise RuntimeFault(f"there is no node {name!r} in lab {lab!r}")
    return _read(path, NodeRecord)


def forget(lab: str, node: str | None = None) -> None:
    """Remove everything that is recorded of a lab, or of one node; fine if there is nothing."""
    folder = FOLDER / lab
    if node is None:
        if folder.exists():
            shutil.rmtree(folder)
        return
    (folder / f"{_STEM}node-{node}.json").unlink(missing_ok=True)
    for path in node_files(lab, node):
        path.unlink(missing_ok=True)
    if root_folder(lab, node).exists():
        root_folder(lab, node).rmdir()


def root_folder(lab: str, node: str) -> Path:
    """The empty folder over which a node builds its root, in mounts of its own."""
    return FOLDER / lab / f"{node}.root"


def node_files(lab: str, node: str) -> tuple[Path, Path]:
    """A node's /etc/hosts and its log."""
    return FOLDER / lab / f"{node}.hosts", FOLDER / lab / f"{node}.log"


def _path(record: NetworkRecord | NodeRecord) -> Path:
    kind, name = ("node", record.placed.name) if isinstance(record, NodeRecord) else ("network", record.network.name)
    return lab_folder(record.lab) / f"{_STEM}{kind}-{name}.json"


def _paths(lab: str, kind: str) -> Sequence[Path]:
    return sorted((FOLDER / lab).glob(f"{_STEM}{kind}-*.json"))


def _read(path: Path, kind: type[Record]) -> Record:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise RuntimeFault(
            f"{path} was written by another version of testbed ({error.error_count()} problems)"
        ) from None
