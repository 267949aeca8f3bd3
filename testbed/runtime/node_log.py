"""The log of a node: what the programs that were started in it wrote on stderr, bounded, one file a node.

Kept on the user's side, by the thread that reads a program's stderr anyway: in the node nothing runs for it, so it
costs a measurement nothing, and it is the same whatever makes the nodes.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from testbed.runtime.user_folder import user_folder

_KEPT_BYTES = 512 * 1024
"""Before the older half is thrown away."""

_SHOWN_BYTES = 256 * 1024

_lock = threading.Lock()


class ProgramLog:
    """Takes what one program writes as it comes, and adds it to its node's log in whole lines under its title."""

    def __init__(self, lab: str, node: str, title: str) -> None:
        self._path = _path(lab, node)
        self._title = title
        self._begun = b""

    def take(self, written: bytes) -> None:
        """More of it. A lab that is gone has no log any more; one that cannot be written stops nobody."""
        *lines, self._begun = (self._begun + written).split(b"\n")
        self._add(lines)

    def end(self) -> None:
        """No more will come."""
        self._add([self._begun] if self._begun else [])

    def _add(self, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        text = "".join(f"{self._title}: {line.decode('utf-8', 'replace')}\n" for line in lines)
        with _lock, contextlib.suppress(OSError):
            if self._path.stat().st_size > _KEPT_BYTES:
                self._path.write_bytes(self._path.read_bytes()[-_KEPT_BYTES // 2 :])
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)


def begin(lab: str, node: str) -> None:
    """An empty log for a node that is being made; one that an earlier node of that name left is thrown away."""
    path = _path(lab, node)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")


def read(lab: str, node: str) -> str:
    """The end of a node's log; "" where this user has none."""
    try:
        return _path(lab, node).read_bytes()[-_SHOWN_BYTES:].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def forget(lab: str, node: str | None = None) -> None:
    """Remove the log of a node, or those of all nodes of a lab; fine if there is none."""
    if node is not None:
        _path(lab, node).unlink(missing_ok=True)
    else:
        shutil.rmtree(_folder(lab), ignore_errors=True)


def _path(lab: str, node: str) -> Path:
    return _folder(lab) / f"{node}.log"


def _folder(lab: str) -> Path:
    return user_folder() / f"{lab}.logs"
