"""Packets of an endpoint as a pcap: captured beside the node, bounded in time, number and size, and fetched."""

from __future__ import annotations

import base64
import itertools
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from testbed.errors import ProgramError, RuntimeFault, UsageError
from testbed.link.base import Endpoint
from testbed.runtime.base import Process
from testbed.units import format_size_bytes

_FOLDER = "/tmp"  # a tmpfs of the sidecar's
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 10.0
_LOOK_S = 0.02
_HANDED_OVER_S = 1.1
"""After that, tcpdump has what came: the kernel hands its buffer over when it is full, and once a second. What is in it
when tcpdump is told to end is lost."""
_FETCH_TIMEOUT_S = 120.0
_RECORD_BYTES = 16  # before each packet in the file
MOST_BYTES = 320 * 2**20
"""Of a pcap."""

_numbers = itertools.count(time.time_ns() % 2**24)


@dataclass(frozen=True)
class Bounds:
    """The capture ends at whichever comes first; of each packet ``snap_bytes`` are kept.

    All that comes within ``seconds`` is kept, and some of what comes in the second behind.
    Raises UsageError for more than ``MOST_BYTES``: the file lies in memory, beside the node and here.
    """

    seconds: float = 10.0
    packets: int = 10_000
    snap_bytes: int = 256

    def __post_init__(self) -> None:
        if self.packets * (self.snap_bytes + _RECORD_BYTES) > MOST_BYTES:
            most = format_size_bytes(MOST_BYTES)
            raise UsageError(
                f"{self.packets} packets with {self.snap_bytes} bytes of each may take more than {most}: at most "
                f"{MOST_BYTES // (self.snap_bytes + _RECORD_BYTES)} packets with so much of each"
            )


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
                *("timeout", "--signal=INT", f"{bounds.seconds + _HANDED_OVER_S:.3f}"),
                *("tcpdump", "-i", self._endpoint.interface, "-n", "-U", "-Z", "root"),
                *("-c", str(bounds.packets), "-s", str(bounds.snap_bytes), "-w", self._path),
            ]
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while "listening on" not in self._process.stderr():
            ended = self._ended(_LOOK_S)
            if "listening on" in self._process.stderr():
                break
            if ended or time.monotonic() > deadline:
                self._process.signal("KILL")
                raise RuntimeFault(f"{self._endpoint.name}: tcpdump: {self._process.stderr().strip()[:300]}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process is not None
        try:
            if error is None and not self._ended(_LOOK_S):
                time.sleep(_HANDED_OVER_S)
        finally:
            self._process.signal("INT")
            self._process.wait(_STOP_TIMEOUT_S)

    def _ended(self, timeout_s: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except ProgramError:
            return False
        return True

    def wait(self) -> None:
        """Until a bound is met."""
        assert self._process is not None
        self._process.wait(self._bounds.seconds + _HANDED_OVER_S + _STOP_TIMEOUT_S)

    def discard(self) -> None:
        """Remove the file from the sidecar, instead of fetching it."""
        self._endpoint.place.run(["rm", "-f", self._path])

    def fetch(self) -> Captured:
        """The file, which is then removed from the sidecar."""
        assert self._process is not None
        place = self._endpoint.place
        done = place.run(["base64", "--wrap=0", self._path], _FETCH_TIMEOUT_S)
        if done.status != 0:
            raise RuntimeFault(f"{self._endpoint.name}: no capture was written: {self._process.stderr().strip()[:300]}")
        self.discard()
        dropped = re.search(r"(\d+) packets? dropped by kernel", self._process.stderr())
        return Captured(base64.b64decode(done.stdout), int(dropped[1]) if dropped else 0)
