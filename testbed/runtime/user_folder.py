"""The folder in which this user's labs leave what later processes need: the states of labs, and the logs of nodes.

It is the user's runtime folder (or TESTBED_STATE_DIR), which a restart of the machine empties, as it ends every lab.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from testbed.errors import EnvironmentLack

_OVERRIDE = "TESTBED_STATE_DIR"


def user_folder() -> Path:
    """The folder, private to the user: whoever may write there decides what ``testbed exec`` runs in.

    Raises EnvironmentLack where it cannot be made, or belongs to others too.
    """
    folder = _place()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fix = f"set {_OVERRIDE} to a folder of yours"
        raise EnvironmentLack(f"{folder} cannot be made: {error.strerror}", fix) from None
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise EnvironmentLack(f"{folder} is not a folder of this user alone", f"remove {folder}")
    return folder


def _place() -> Path:
    override, session = os.environ.get(_OVERRIDE), os.environ.get("XDG_RUNTIME_DIR")
    if override:
        return Path(override)
    if os.getuid() == 0 and Path("/run").is_dir():
        return Path("/run/testbed-labs")  # the same for a login as root, sudo, su and a service
    return Path(session) / "testbed" if session else Path(tempfile.gettempdir()) / f"testbed-{os.getuid()}"
