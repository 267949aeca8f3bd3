"""Writes a run so that a crash loses at most the point in flight."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from testbed.errors import RunError
from testbed.model.manifest import Manifest
from testbed.model.record import Record

MANIFEST_FILE = "manifest.json"
POINTS_FILE = "points.jsonl"


def new_run_folder(results: Path, scenario: str, now: datetime | None = None) -> Path:
    """Make ``results/<scenario>/<time>-<id>/``; the identity keeps two runs of one second apart."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%S")
    folder = results / scenario / f"{moment}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot make the folder for results: {error.strerror}") from None
    return folder


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest whole or not at all (written beside, synced, renamed)."""
    beside = folder / f"{MANIFEST_FILE}.new"
    with beside.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / MANIFEST_FILE)
    _sync_folder(folder)


def append_record(folder: Path, record: Record) -> None:
    """Append one point as one line and wait until it is on the disk.

    A line that a crash cut short is ended first, so that it cannot swallow the new one.
    """
    path = folder / POINTS_FILE
    new = not path.exists()
    with path.open("ab") as file:
        if not new and _ends_mid_line(path):
            file.write(b"\n")
        file.write(record.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        _sync_folder(folder)


def _ends_mid_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
