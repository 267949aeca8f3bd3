"""Builds linkem and linkprobe; runs linkem's packet decisions and its message parser in small harnesses of C."""

from __future__ import annotations

import fcntl
import functools
import subprocess
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[2] / "images"
_SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


@functools.cache
def build(program: str, *, sanitize: bool = False) -> Path:
    """Build one program of images/link and return its path; nothing is done where it is up to date."""
    folder = Path("build") / ("sanitized" if sanitize else "")
    command = ["make", "--no-print-directory", f"BUILD={folder}", str(folder / program)]
    command += ["SANITIZE=1"] if sanitize else []
    (IMAGES / folder).mkdir(parents=True, exist_ok=True)
    with (IMAGES / folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _run(command, IMAGES)
    return IMAGES / folder / program


def harness(folder: Path, name: str, source: str, parts: list[str], compiler: str = "gcc", extra: str = "") -> Path:
    """Compile a main() of the test's with some of linkem's own files, under the sanitizers."""
    main = folder / f"{name}.c"
    main.write_text(source, encoding="utf-8")
    binary = folder / name
    files = [str(IMAGES / part) for part in parts]
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", *_SANITIZERS, *extra.split()]
    includes = [f"-I{IMAGES / folder}" for folder in ("common", "link", "shape")]
    _run([compiler, *flags, *includes, "-o", str(binary), str(main), *files, "-lm"], folder)
    return binary


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
