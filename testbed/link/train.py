"""A train of probes from one place to another, packet by packet (linkprobe at both ends)."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.awake import awake
from testbed.errors import ProgramError, RuntimeFault
from testbed.link.base import Place
from testbed.runtime.base import Process

WIRE_OVERHEAD = 14 + 20 + 8
"""Bytes that a probe has on the wire beside its payload: Ethernet, IP, UDP."""

_PORT = 7077
_READY_TIMEOUT_S = 10.0
_KILLED_TIMEOUT_S = 5.0
_trains = itertools.count(time.time_ns() % 2**20)


@dataclass(frozen=True)
class TrainPlan:
    """``count`` probes of ``payload`` bytes, one each ``interval_us``; ``linger_s`` is how long the last may take."""

    count: int
    interval_us: float
    payload: int = 64
    settle_ms: int = 60
    linger_s: float = 0.2

    @property
    def wire_bits(self) -> int:
        """Bits of one probe as a rate counts them."""
        return (self.payload + WIRE_OVERHEAD) * 8

    @property
    def seconds(self) -> float:
        """How long the sending takes."""
        return self.count * self.interval_us / 1e6


@dataclass(frozen=True)
class Train:
    """What arrived, in order of arrival.

    ``sent`` leaves out what the sender's own kernel refused, ``dropped`` found the receiving socket full: both are the
    probes' fault. ``late_us`` is how late each that arrived was sent.
    """

    plan: TrainPlan
    sent: int
    sequence: NDArray[np.int64]
    delay_us: NDArray[np.float64]
    arrived_us: NDArray[np.float64]
    late_us: NDArray[np.float64]
    corrupted: int
    dropped: int
    sending_s: float

    @property
    def first(self) -> NDArray[np.bool_]:
        """Which arrivals are the first of their sequence number: the others are duplicates."""
        flags = np.zeros(len(self.sequence), dtype=np.bool_)
        flags[np.unique(self.sequence, return_index=True)[1]] = True
        return flags

    @property
    def overtaken(self) -> int:
        """How many arrived after a later one."""
        return int((self.sequence < np.maximum.accumulate(self.sequence)).sum()) if len(self.sequence) else 0

    @property
    def crowded(self) -> float:
        """The share of what arrived that was sent when the next one was due already."""
        return float((self.late_us > self.plan.interval_us).mean()) if len(self.late_us) else 0.0

    @property
    def offered_bps(self) -> float:
        """What the sender really offered."""
        return self.sent * self.plan.wire_bits / max(self.sending_s, 1e-9)


def run_train(source: Place, target: Place, address: str, plan: TrainPlan) -> Train:
    """Send a train to ``address``, which is in ``target``. Raises RuntimeFault or ProgramError if linkprobe fails."""
    with awake():
        return _run_train(source, target, address, plan)


def _run_train(source: Place, target: Place, address: str, plan: TrainPlan) -> Train:
    number = next(_trains)
    shared = ["--address", address, "--port", str(_PORT), "--size", str(plan.payload), "--train", str(number)]
    receiver = target.start(["linkprobe", "--receive", *shared, "--most", str(_most(plan))])
    try:
        _line(receiver, "ready", _READY_TIMEOUT_S)
        interval = ["--count", str(plan.count), "--interval", f"{plan.interval_us:.3f}us"]
        command = ["linkprobe", "--send", *shared, *interval, "--settle", f"{plan.settle_ms}ms"]
        done = source.run(command, timeout_s=plan.seconds * 3 + plan.settle_ms / 1000 + 30)
        if done.status != 0:
            raise ProgramError(f"linkprobe --send: {done.stderr.strip()[:300]}")
        time.sleep(plan.linger_s)
        receiver.signal("TERM")
        summary = _line(receiver, "summary", 30.0)
    finally:
        receiver.signal("KILL")
        receiver.wait(_KILLED_TIMEOUT_S)  # or its pipes stay open
    return _train(plan, json.loads(done.stdout), summary)


def _most(plan: TrainPlan) -> int:
    """Arrivals to be kept: each shape of a path may repeat every probe."""
    return 4 * plan.count + 16


def _line(process: Process, kind: str, timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for text in process.lines(timeout_s=0.1):
            line: dict[str, Any] = json.loads(text)
            if line["type"] == "error":
                raise ProgramError(f"linkprobe: {line['message']}")
            if line["type"] == kind:
                return line
    raise RuntimeFault(f"linkprobe gave no {kind} line within {timeout_s:.0f} s: {process.stderr().strip()[:300]}")


def _train(plan: TrainPlan, sent: dict[str, Any], received: dict[str, Any]) -> Train:
    if received["beyond"]:
        raise ProgramError(f"linkprobe: {received['beyond']} arrivals of {plan.count} probes are more than can be kept")
    sequence = np.asarray(received["sequence"], dtype=np.int64)
    sent_ns = np.asarray(received["sent_ns"], dtype=np.float64)
    arrived_ns = np.asarray(received["arrived_ns"], dtype=np.float64)
    return Train(
        plan=plan,
        sent=int(sent["sent"]) - int(sent["refused"]),
        sequence=sequence,
        delay_us=(arrived_ns - sent_ns) / 1000,
        arrived_us=arrived_ns / 1000,
        late_us=(sent_ns + (received["base_ns"] - sent["began_ns"])) / 1000 - sequence * plan.interval_us,
        corrupted=int(received["corrupted"]),
        dropped=int(received["dropped"]),
        sending_s=(sent["ended_ns"] - sent["began_ns"]) / 1e9,
    )
