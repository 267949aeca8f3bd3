"""One connection of loadgen with a peer that a test plays itself."""

from __future__ import annotations

import zlib

from tests.native.client_lab import SCRIPTED, ClientLab, Line, finish
from tests.native.client_peer import ACK, FIN, Connection, ScriptedPeer

BODY = bytes(range(256)) * 5
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CRC = f"{zlib.crc32(BODY):08x}"
ONE = (
    "--uri",
    "/x",
    "--rate",
    "10",
    "--arrival",
    "deterministic",
    "--warm-up",
    "0s",
    "--window",
    "90ms",
    "--seed",
    "3",
)
"""Exactly one connection: one start falls into the window with this seed (asserted in every summary)."""


class Run:
    """One connection of loadgen with a peer played by the test."""

    def __init__(self, lab: ClientLab, *flags: str) -> None:
        self.peer = ScriptedPeer(lab)
        # A request is not sent again while the test takes its time, unless the test wants it.
        base = (*ONE, "--timeout", "2s", "--minimum-rto", "1s", "--body-crc32", CRC, *self.peer.flags)
        self.process = lab.program("loadgen", *base, *flags, target=SCRIPTED)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.__exit__()
        self.process.kill()
        self.process.communicate()

    def summary(self, **errors: int) -> Line:
        """Its summary: one attempt, completed unless an error class is named."""
        line = finish(self.process, timeout_s=15)[-1]
        assert line["attempted"] == 1
        assert {name: count for name, count in line["errors"].items() if count} == errors
        assert line["completed"] == 1 - sum(errors.values())
        return line


def close_down(connection: Connection) -> None:
    """The client's FIN, ours, and its last ACK."""
    while True:
        segment = connection.receive()
        if segment.flags & FIN:
            break
        assert segment.flags == ACK
    connection.take(segment)
    connection.send(flags=FIN | ACK)
    last = connection.receive()
    assert last.flags == ACK
    assert last.acknowledged == connection.sequence
