"""Reads runs back, of this and of every older format version."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import InputError
from testbed.model.manifest import FORMAT_VERSION, Manifest
from testbed.model.record import Record
from testbed.store.writing import MANIFEST_FILE, POINTS_FILE


@dataclass(frozen=True)
class Run:
    """A run as read: its folder, its manifest, its points in the order in which they finished.

    ``cut_lines`` counts lines that a crash left unfinished; they are not in ``records``.
    """

    folder: Path
    manifest: Manifest
    records: tuple[Record, ...]
    cut_lines: int

    def latest(self) -> tuple[Record, ...]:
        """The last record of each point: a retried point counts once, as it ended."""
        return tuple({record.point: record for record in self.records}.values())


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises InputError that names the file and, for a bad line, its number."""
    path = folder / MANIFEST_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(str(path), "no such file: this is not the folder of a run") from None
    except (ValueError, OSError) as error:
        raise InputError(str(path), f"cannot be read: {error}") from None
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise InputError(f"{path}: format_version", f"{version!r} is not one of 1 to {FORMAT_VERSION}")
    manifest = Manifest.checked(str(path), data)
    records, cut = _read_points(folder / POINTS_FILE)
    return Run(folder, manifest, tuple(records), cut)


def _read_points(path: Path) -> tuple[list[Record], int]:
    if not path.exists():
        return [], 0
    records: list[Record] = []
    cut = 0
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError:
            cut += 1  # only a crash in mid-write leaves a line that is no JSON: the point in flight
            continue
        records.append(Record.checked(f"{path}:{number}", data))
    return records, cut


def has_points(folder: Path) -> bool:
    """Whether a run has a point: one that was killed before its first must not pass for the newest."""
    path = folder / POINTS_FILE
    return path.is_file() and path.stat().st_size > 0


def find_runs(results: Path, scenario: str) -> list[Path]:
    """The folders of a scenario's runs below ``results`` that have a point, oldest first."""
    folders = (path.parent for path in (results / scenario).glob(f"*/{MANIFEST_FILE}"))
    return sorted(folder for folder in folders if has_points(folder))
