"""What a lab that stands was made as, kept for later processes: one small file per lab, and a lock per lab.

The files live in the user's runtime folder (or in TESTBED_STATE_DIR), which a restart of the machine empties, as it
ends every lab.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from testbed.errors import EnvironmentLack, RunError, UsageError
from testbed.model.placed import PlacedTopology
from testbed.model.value import Value
from testbed.runtime.base import Paths

_LOCK_TIMEOUT_S = 60.0
_OVERRIDE = "TESTBED_STATE_DIR"


class LabState(Value):
    """A lab as it was brought up: the name of its runtime, where everything was placed, and its paths."""

    runtime: str
    placed: PlacedTopology
    paths: Paths


def save(state: LabState) -> None:
    """Write the state of a lab; a reader sees the old file or the new one."""
    target = _folder() / f"{state.placed.lab}.json"
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_text(state.model_dump_json(), encoding="utf-8")
    partial.replace(target)


def load(lab: str) -> LabState | None:
    """The state of a lab, or None if this user brought up none of that name."""
    path = _folder() / f"{lab}.json"
    try:
        return LabState.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        count = error.error_count()
        raise RunError(f"{path} was written by another version of testbed ({count} problems): remove it") from None


def forget(lab: str) -> None:
    """Remove the state of a lab; fine if there is none."""
    (_folder() / f"{lab}.json").unlink(missing_ok=True)


@contextmanager
def locked(lab: str) -> Iterator[None]:
    """Only one process at a time makes or removes a lab. A process that dies gives the lock back.

    Raises UsageError when another process keeps it for a minute.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    path = _folder() / f"{lab}.lock"
    while True:
        with path.open("w") as file:
            if _has_lock(file, path):
                try:
                    yield
                finally:
                    path.unlink()
                return
        if time.monotonic() > deadline:
            raise UsageError(f"lab {lab!r} is being made or removed by another process")
        time.sleep(0.05)


def _has_lock(file: TextIO, path: Path) -> bool:
    """Take the lock if it is free. It counts only on the file that stands there: its last owner removed the others."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except (BlockingIOError, FileNotFoundError):
        return False


def _folder() -> Path:
    """The folder, private to the user: whoever may write there decides what ``testbed exec`` runs in."""
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
