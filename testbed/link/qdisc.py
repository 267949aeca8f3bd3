"""Queueing disciplines of an interface in any network namespace, over route netlink.

pyroute2 does links and filters; a qdisc's options are ours to write and read, because its netem knows neither loss
models nor distributions, and its tbf rounds. Options are the kernel's own bytes (``linux/pkt_sched.h``).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from testbed.errors import RuntimeFault
from testbed.link.enter import inside

ROOT = 0xFFFFFFFF
INGRESS = 0xFFFFFFF1
INGRESS_HANDLE = 0xFFFF0000

_OUR_HANDLES = 0x7B

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_REQUEST, _ACK, _DUMP, _REPLACE, _CREATE = 0x1, 0x4, 0x300, 0x100, 0x400
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _EXTENDED_ACK = 270, 11
_KIND, _OPTIONS, _STATS2 = 1, 2, 7
_STATS2_QUEUE = 3
_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=BxxxiIII")
_NESTED_OR_ORDER = 0xC000
_TICK_NS = 64
"""The kernel's packet scheduler counts in units of 64 ns (PSCHED_SHIFT), on every kernel since 2.6.31."""


@dataclass(frozen=True)
class Qdisc:
    """One discipline. ``options`` are the kernel's bytes. ``drops`` counts what it has thrown away."""

    kind: str
    index: int
    handle: int
    parent: int
    options: bytes
    drops: int

    @property
    def name(self) -> str:
        """As tc writes it: "netem 7b01:"."""
        return f"{self.kind} {self.handle >> 16:x}:"

    @property
    def is_testbeds(self) -> bool:
        """Whether a backend of ours put it there: all their handles are 7bXX:, each has its own of them."""
        return self.handle >> 24 == _OUR_HANDLES

    @property
    def is_default(self) -> bool:
        """Whether the kernel put it there by itself: nobody's choice, and nothing is lost by replacing it."""
        return self.handle == 0


class Qdiscs:
    """A route socket in a namespace. A context manager."""

    def __init__(self, namespace: str) -> None:
        self._socket = inside(namespace, _open)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Changes no discipline."""
        self._socket.close()

    def of(self, index: int) -> list[Qdisc]:
        """All disciplines of an interface."""
        found = self._ask(_GETQDISC, _DUMP, index, 0, 0, b"")
        return [qdisc for qdisc in map(_parsed, found) if qdisc.index == index]

    def root(self, index: int) -> Qdisc | None:
        """The discipline that everything sent passes, if there is one."""
        return next((qdisc for qdisc in self.of(index) if qdisc.parent == ROOT), None)

    def put(self, index: int, parent: int, handle: int, kind: str, options: bytes = b"") -> None:
        """Change the discipline of that handle and kind in place, where what waits in it stays; else add one.

        One that is at that parent is replaced in one step, and what waits in it is lost. Raises RuntimeFault with the
        kernel's reason.
        """
        same = [qdisc for qdisc in self.of(index) if qdisc.handle == handle and qdisc.kind == kind]
        flags = 0 if same else _CREATE | _REPLACE
        body = attribute(_KIND, kind.encode() + b"\0") + (attribute(_OPTIONS, options) if options else b"")
        self._ask(_NEWQDISC, _ACK | flags, index, parent, handle, body, f"{kind} {handle >> 16:x}: cannot be set")

    def delete(self, index: int, parent: int, handle: int) -> None:
        """Remove the discipline of that handle at that parent. Raises RuntimeFault if it is not there."""
        self._ask(_DELQDISC, _ACK, index, parent, handle, b"", f"qdisc {handle >> 16:x}: cannot be removed")

    def _ask(
        self, kind: int, flags: int, index: int, parent: int, handle: int, body: bytes, what: str = "qdiscs"
    ) -> list[bytes]:
        self._sequence += 1
        payload = _MESSAGE.pack(socket.AF_UNSPEC, index, handle, parent, 0) + body
        header = _HEADER.pack(_HEADER.size + len(payload), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(header + payload)
        answers: list[bytes] = []
        while True:
            for answer, message in _messages(self._socket.recv(1 << 18)):
                if answer == _ERROR:
                    code = -int(struct.unpack_from("=i", message)[0])
                    if code:
                        raise RuntimeFault(f"{what}: {os.strerror(code)}{_extended(message)}")
                    return answers
                if answer == _DONE:
                    return answers
                answers.append(message)


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in ``data``. Raises RuntimeFault for bytes that are none."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            raise RuntimeFault("the kernel's answer cannot be read: an attribute is longer than its message")
        yield kind & ~_NESTED_OR_ORDER, data[4:length]
        data = data[length + (-length % 4) :]


def ticks(nanoseconds: int) -> int:
    """Time in the scheduler's unit, rounded down."""
    return nanoseconds // _TICK_NS


def nanoseconds(tick_count: int) -> int:
    """The scheduler's unit back to time."""
    return tick_count * _TICK_NS


def _open() -> socket.socket:
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    route.settimeout(5)
    with suppress(OSError):  # a kernel without extended acknowledgements: the error number alone is the reason
        route.setsockopt(_SOL_NETLINK, _EXTENDED_ACK, 1)
    route.bind((0, 0))
    return route


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise RuntimeFault("the kernel's answer cannot be read: a message is longer than what came")
        yield kind, data[_HEADER.size : length]
        data = data[length + (-length % 4) :]


def _extended(message: bytes) -> str:
    """The kernel's words beside an error number: attribute 1 behind the copy of the request's header."""
    copied = struct.unpack_from("=I", message, 4)[0]
    for start in (4 + copied, 4 + _HEADER.size):
        for kind, payload in _attributes_or_none(message[start:]):
            if kind == 1:
                return f" ({payload.rstrip(bytes(1)).decode(errors='replace')})"
    return ""


def _attributes_or_none(data: bytes) -> list[tuple[int, bytes]]:
    try:
        return list(attributes(data))
    except RuntimeFault:
        return []


def _parsed(message: bytes) -> Qdisc:
    _, index, handle, parent, _ = _MESSAGE.unpack_from(message)
    found = dict(attributes(message[_MESSAGE.size :]))
    statistics = dict(attributes(found.get(_STATS2, b"")))
    queue = statistics.get(_STATS2_QUEUE, bytes(20))
    drops = struct.unpack_from("=I", queue, 8)[0]
    kind = found[_KIND].rstrip(b"\0").decode()
    return Qdisc(kind, index, handle, parent, found.get(_OPTIONS, b""), drops)
