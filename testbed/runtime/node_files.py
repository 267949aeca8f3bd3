"""Files for a node, unpacked by tar inside it: so they reach a tmpfs, and a link in there leads nowhere out here.

An engine's own copy goes beneath a tmpfs, unseen.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from testbed.errors import RuntimeFault
from testbed.runtime.base import Runtime

_TIMEOUT_S = 120.0
UNPACK = ("/bin/sh", "-c", 'mkdir -p "$0" && exec tar -x -o -f - -C "$0"')
"""The command that takes the archive on stdin; its last word is the folder."""


def put_files(runtime: Runtime, lab: str, node: str, folder: str, files: Mapping[str, bytes]) -> None:
    """Write files below a folder of the node, which is made where it is missing; ``files`` are by path in the folder.

    Raises RuntimeFault with tar's words.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    done = runtime.run(lab, node, [*UNPACK, folder], _TIMEOUT_S, archive.getvalue())
    if done.status != 0:
        raise RuntimeFault(f"files cannot be put into {folder} of {node}: {' '.join(done.stderr.split())}")
