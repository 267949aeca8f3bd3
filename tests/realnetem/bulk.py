"""A megabyte over kernel TCP: ``receive`` prints "ready" and takes what one sender sends; an address is sent to.

Run as a program in a node; it prints "sent" at the end. Only the standard library: it runs on any Python.
"""

from __future__ import annotations

import socket
import sys

PORT = 7008

if sys.argv[1] == "receive":
    with socket.create_server(("0.0.0.0", PORT)) as door:
        print("ready", flush=True)
        stream, _ = door.accept()
        while stream.recv(1 << 20):
            pass
else:
    with socket.create_connection((sys.argv[1], PORT)) as stream:
        for _ in range(16):
            stream.sendall(bytes(1 << 16))
    print("sent", flush=True)
