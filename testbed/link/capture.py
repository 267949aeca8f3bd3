"""Packets of an endpoint as a pcap: captured beside the node, bounded in time, number and size, and fetched."""

from __future__ import annotations

import base64
import itertools
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from testbed.errors import RuntimeFault
from testbed.link.base import Endpoint
from testbed.runtime.base import Process

_FOLDER = "/tmp"  # a tmpfs of the sidecar's
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 10.0
_FETCH_TIMEOUT_S = 120.0
_numbers = itertools.count(time.time_ns() % 2**24)


@dataclass(frozen=True)
class Bounds:
    """The capture ends at whichever comes first; of each packet ``snap_bytes`` are kept."""

    seconds: float = 10.0
    packets: int = 10_000
    snap_bytes: int = 256


@dataclass(frozen=True)
class Captured:
    """A pcap file's bytes. ``dropped`` were seen by the kernel but not written."""

    pcap: bytes
    dropped: int


class Capture:
    """A capture that runs until the block ends, or its bounds are met. ``fetch`` it afterwards, once."""

    def __init__(self, endpoint: Endpoint, bounds: Bounds) -> None:
        self._endpoint = endpoint
        self._bounds = bounds
        self._path = f"{_FOLDER}/capture-{next(_numbers)}.pcap"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        bounds = self._bounds
        self._process = self._endpoint.place.start(
            [
                *("timeout", "--signal=INT", f"{bounds.seconds:.3f}"),
                *("tcpdump", "-i", self._endpoint.interface, "-n", "-U", "-Z", "root"),
                *("-c", str(bounds.packets), "-s", str(bounds.snap_bytes), "-w", self._path),
            ]
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while "listening on" not in self._process.stderr():
            if time.monotonic() > deadline:
                self._process.signal("KILL")
                raise RuntimeFault(f"{self._endpoint.name}: tcpdump: {self._process.stderr().strip()[:300]}")
            time.sleep(0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process is not None
        self._process.signal("INT")
        self._process.wait(_STOP_TIMEOUT_S)

    def wait(self) -> None:
        """Until a bound is met."""
        assert self._process is not None
        self._process.wait(self._bounds.seconds + _STOP_TIMEOUT_S)

    def fetch(self) -> Captured:
        """The file, which is then removed from the sidecar."""
        assert self._process is not None
        place = self._endpoint.place
        done = place.run(["base64", "--wrap=0", self._path], _FETCH_TIMEOUT_S)
        if done.status != 0:
            raise RuntimeFault(f"{self._endpoint.name}: no capture was written: {self._process.stderr().strip()[:300]}")
        place.run(["rm", "-f", self._path])
        dropped = re.search(r"(\d+) packets? dropped by kernel", self._process.stderr())
        return Captured(base64.b64decode(done.stdout), int(dropped[1]) if dropped else 0)
