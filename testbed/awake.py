"""CPUs that do not sleep while something is measured.

A CPU without work goes into an idle state, and the deeper that is, the longer it takes to wake. Under a hypervisor it
is given back to the host, which brings it back in its own time: frames and timers wait for 0.1 to 5 ms. The kernel's
PM QoS interface (Documentation/power/pm_qos_interface.rst) forbids that as long as a file is open, so that nothing
needs to be put back, whatever ends this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LATENCY = Path("/dev/cpu_dma_latency")
_NOTHING_US = (0).to_bytes(4, "little")
"""Microseconds that waking may take, as a number of 32 bits: with 0, CPUs wait in a loop."""


@contextmanager
def awake() -> Iterator[str]:
    """Keep this machine's CPUs out of idle states until the block ends; yields "", or in one line why they sleep."""
    try:
        descriptor = os.open(_LATENCY, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        yield f"{_LATENCY}: {error.strerror}"
        return
    try:
        yield _ask(descriptor)
    finally:
        os.close(descriptor)


def _ask(descriptor: int) -> str:
    try:
        os.write(descriptor, _NOTHING_US)
    except OSError as error:
        return f"{_LATENCY}: {error.strerror}"
    return ""
