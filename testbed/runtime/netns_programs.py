"""The project's programs for nodes without an engine: built on this machine by the same Makefile as in the images."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from testbed.errors import EnvironmentLack, RunError
from testbed.project import images_folder, is_installed

Say = Callable[[str], None]
_TIMEOUT_S = 300.0


def programs_folder() -> Path:
    """Where the built programs are, or would be: beside their sources, or in the user's cache of an installed package.

    A package's sources differ from those of another version: each has a folder of its own.
    """
    sources = images_folder()
    if not is_installed():
        return sources / "build"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "testbed" / f"programs-{_digest(sources)}"


def digest() -> str:
    """Of the built programs, names and contents; of none where nothing is built."""
    made = hashlib.sha256()
    for path in sorted(programs_folder().glob("*")):
        if path.is_file() and os.access(path, os.X_OK):
            content = path.read_bytes()
            made.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return f"sha256:{made.hexdigest()}"


def build(progress: Say) -> None:
    """Build what is missing or older than its sources.

    Raises EnvironmentLack without make and a compiler, RunError with the compiler's last words.
    """
    missing = [name for name in ("make", "cc") if shutil.which(name) is None]
    if missing:
        raise EnvironmentLack(
            f"{', '.join(missing)}: not installed: the programs cannot be built", "apt-get install make gcc libc6-dev"
        )
    progress(f"building the programs in {programs_folder()}")
    done = subprocess.run(
        ["make", "--directory", str(images_folder()), "--jobs", "2", f"BUILD={programs_folder()}"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RunError("the programs cannot be built: " + " | ".join(done.stderr.strip().splitlines()[-3:]))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
