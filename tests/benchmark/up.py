"""How long ``testbed up`` of the whole default world takes, as a user sees it."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from testbed.errors import RunError
from tests.benchmark.outcome import Outcome

_TIMES = 5


def main() -> list[Outcome]:
    """Whole commands, interpreter start included."""
    seconds = []
    for _ in range(_TIMES):
        seconds.append(_timed("up"))
        down = _timed("down")
        print(f"up {seconds[-1]:.2f} s, down {down:.2f} s", flush=True)
    return [Outcome(f"testbed up, median of {_TIMES}", median(seconds), "s", 2.0, at_least=False)]


def _timed(verb: str) -> float:
    command = [sys.executable, "-m", "testbed.cli", verb, "--lab", "bench-up"]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"testbed {verb} failed: {done.stderr.strip()}")
    return time.monotonic() - began
