"""A workload's file set in the server node: made once per lab, on a tmpfs that must be large enough."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.engine.lab import Lab
from testbed.errors import RunError, UsageError

_PAGE = 4096
"""A tmpfs gives whole pages."""

_MARK = "/tmp/testbed-documents"
"""Says in the node which set stands there, so that the next run in the same lab need not copy it again."""


@dataclass(frozen=True)
class FileSet:
    """How many files a document root holds, and the bytes in them."""

    files: int
    bytes: int


def place_documents(lab: Lab, node: str, folder: str, documents: Mapping[str, bytes]) -> FileSet:
    """Make ``folder`` of ``node`` hold these documents and nothing else; what it holds already is left there.

    Raises UsageError when the folder's file system is smaller than the set, RunError when it cannot be asked.
    """
    file_set = FileSet(len(documents), sum(map(len, documents.values())))
    digest = _digest(documents)
    if lab.run(node, ["cat", _MARK]).stdout.strip() == digest:
        return file_set
    must_fit(lab, node, folder, documents)
    script = 'rm -f "$1" && find "$0" -mindepth 1 -delete'
    emptied = lab.run(node, ["sh", "-c", script, folder, _MARK])
    if emptied.status != 0:
        raise RunError(f"cannot empty {folder} of {node}: {emptied.stderr.strip()}")
    lab.put_files(node, folder, documents)
    lab.put_files(node, _MARK.rpartition("/")[0], {_MARK.rpartition("/")[2]: digest.encode()})
    return file_set


def _digest(documents: Mapping[str, bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(documents):
        digest.update(f"{name}\0{len(documents[name])}\0".encode())
        digest.update(documents[name])
    return digest.hexdigest()


def must_fit(lab: Lab, node: str, folder: str, documents: Mapping[str, bytes]) -> None:
    """Raises UsageError when the folder's file system is smaller than the set, RunError when it cannot be asked."""
    done = lab.ask(node, ["df", "-P", "-k", folder])  # the form that POSIX gives: busybox has it too
    if done.status != 0:
        raise RunError(f"cannot ask {node} how large {folder} is: {done.stderr.strip()}")
    size = int(done.stdout.splitlines()[-1].split()[1]) * 1024
    needed = sum(-(-len(content) // _PAGE) * _PAGE for content in documents.values())
    if size and needed > size:  # 0: without a limit
        raise UsageError(
            f"the workload's files need {needed / 1e6:,.0f} MB, and {folder} of {node} holds {size / 1e6:,.0f} MB: "
            "take a smaller set, or give its tmpfs more (size= in compose.yaml)"
        )
