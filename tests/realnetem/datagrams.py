"""Probes that are nobody's backend: numbered datagrams from one node to another, timed by the clock that both share.

The time of arrival is the kernel's, so that a receiver that has to wait for a CPU adds nothing to it.

Run as a program in a node: ``receive ADDRESS COUNT`` prints "ready", then one JSON line; ``send ADDRESS COUNT SIZE
GAP_MS`` sends. Only the standard library: it runs on any Python that the node sees.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

PORT = 7007
SO_RCVBUFFORCE = 33
"""Beyond the machine's limit; needs NET_ADMIN. Not among Python's names, as the next."""

SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("=qq")
_STAMP = struct.Struct("=Iq")
_SILENCE_S = 1.5


def receive(address: str, count: int) -> None:
    """Each datagram's number, its time on the way and when it came, in arrival order, until all came or none comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)  # what this socket drops is no link's loss
        door.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        door.bind((address, PORT))
        print("ready", flush=True)
        door.settimeout(10)
        numbers: list[int] = []
        delays_us: list[int] = []
        came_us: list[int] = []
        try:
            while len(numbers) < count:
                data, ((_, _, stamp),), *_ = door.recvmsg(65536, 128)
                seconds, nanoseconds = _TIMESPEC.unpack(stamp)
                came_ns = seconds * 10**9 + nanoseconds
                number, sent_ns = _STAMP.unpack_from(data)
                numbers.append(number)
                delays_us.append((came_ns - sent_ns) // 1000)
                came_us.append(came_ns // 1000)
                door.settimeout(_SILENCE_S)
        except TimeoutError:
            pass  # what has not come by now is lost: that is what the caller counts
    print(json.dumps({"numbers": numbers, "delays_us": delays_us, "came_us": came_us}), flush=True)


def send(address: str, count: int, size: int, gap_ms: float) -> None:
    """``size`` is the datagram's payload in bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        for number in range(count):
            door.sendto(_STAMP.pack(number, time.time_ns()).ljust(size, b"x"), (address, PORT))
            if gap_ms:
                time.sleep(gap_ms / 1000)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
