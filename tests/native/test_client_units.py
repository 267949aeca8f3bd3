"""Runs client_units.c under the sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.native.client_lab import IMAGES

CLIENT = IMAGES / "client"


def test_units(tmp_path: Path) -> None:
    sources = [Path(__file__).with_name("client_units.c"), *sorted((CLIENT / "engine").glob("packet*.c"))]
    sources += [CLIENT / "engine.c", CLIENT / "think.c", IMAGES / "common" / "json.c"]
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{CLIENT}", f"-I{IMAGES / 'common'}"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    binary = str(tmp_path / "units")
    command = ["cc", *flags, *map(str, sources), "-lm", "-o", binary]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([binary], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all units passed\n"
