"""Files for a node, unpacked by tar inside it: so they reach a tmpfs, and a link in there leads nowhere out here."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from testbed.errors import RuntimeFault
from testbed.runtime.base import Runtime

_TIMEOUT_S = 120.0
_UNPACK = 'mkdir -p "$0" && exec tar -x -o -f - -C "$0"'


def unpack(runtime: Runtime, lab: str, node: str, folder: str, files: Mapping[str, bytes]) -> None:
    """Write files below a folder of the node (``Runtime.put_files``). Raises RuntimeFault with tar's words."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    done = runtime.run(lab, node, ["/bin/sh", "-c", _UNPACK, folder], _TIMEOUT_S, archive.getvalue())
    if done.status != 0:
        raise RuntimeFault(f"files cannot be put into {folder} of {node}: {' '.join(done.stderr.split())}")
