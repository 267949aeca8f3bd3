"""What a lab that stands was made as, kept for later processes: one small file per lab, and a lock per lab."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from testbed.errors import RunError, UsageError
from testbed.model.placed import PlacedTopology
from testbed.model.value import Value
from testbed.runtime.base import Paths
from testbed.runtime.user_folder import user_folder

_LOCK_TIMEOUT_S = 60.0
_USE_TIMEOUT_S = 0.2
"""Enough for whoever only looks whether a lab is in use."""


class LabState(Value):
    """A lab as it was brought up: the name of its runtime, where everything was placed, and its paths."""

    runtime: str
    placed: PlacedTopology
    paths: Paths


def save(state: LabState) -> None:
    """Write the state of a lab; a reader sees the old file or the new one."""
    target = user_folder() / f"{state.placed.lab}.json"
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_text(state.model_dump_json(), encoding="utf-8")
    partial.replace(target)


def load(lab: str) -> LabState | None:
    """The state of a lab, or None if this user brought up none of that name."""
    path = user_folder() / f"{lab}.json"
    try:
        return LabState.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        count = error.error_count()
        raise RunError(f"{path} was written by another version of testbed ({count} problems): remove it") from None


def saved_runtimes() -> dict[str, str]:
    """Of every lab that this user brought up, the name of its runtime, whatever version of testbed wrote it."""
    found = {}
    for path in user_folder().glob("*.json"):
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            found[path.stem] = str(json.loads(path.read_text(encoding="utf-8"))["runtime"])
    return found


def forget(lab: str) -> None:
    """Remove the state of a lab; fine if there is none."""
    (user_folder() / f"{lab}.json").unlink(missing_ok=True)


@contextmanager
def locked(lab: str) -> Iterator[None]:
    """Only one process at a time makes or removes a lab. A process that dies gives the lock back.

    Raises UsageError when another process keeps it for a minute.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    path = user_folder() / f"{lab}.lock"
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


@contextmanager
def in_use(lab: str) -> Iterator[None]:
    """While one process measures in a lab, no other may, and none may remove it. A process that dies gives it back.

    Raises UsageError that names the process which has it. Within one process it may be held twice.
    """
    path = user_folder() / f"{lab}.use"
    deadline = time.monotonic() + _USE_TIMEOUT_S
    while True:
        with path.open("a", encoding="utf-8") as file:
            if _has_lock(file, path):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                try:
                    yield
                finally:
                    path.unlink()
                return
        user = _user(path)
        if user == os.getpid():
            yield
            return
        if time.monotonic() > deadline:
            by = "another process" if user is None else f"process {user}"
            raise UsageError(f"lab {lab!r} is in use by {by}: wait for its end, or choose another --lab")
        time.sleep(0.01)


def check_unused(lab: str) -> None:
    """Raises UsageError, naming it, while another process measures in the lab."""
    path = user_folder() / f"{lab}.use"
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError:
        user = _user(path)
        if user not in (None, os.getpid()):
            raise UsageError(f"lab {lab!r} is in use by process {user}: end that first") from None


def _user(path: Path) -> int | None:
    """Who wrote there last; None for a file that is not there, or is just being written."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _has_lock(file: TextIO, path: Path) -> bool:
    """Take the lock if it is free. It counts only on the file that stands there: its last owner removed the others."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except (BlockingIOError, FileNotFoundError):
        return False
