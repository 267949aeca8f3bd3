"""Small HTTP servers on the kernel's TCP, in the server's namespace, that behave as a test tells them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.native.client_lab import ClientLab

Handler = Callable[[socket.socket], None]


def read_request(connection: socket.socket) -> bytes:
    """One request with its body; empty when the client closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            left = int(line.split(b":")[1]) - len(body)
            while left > 0:
                body += connection.recv(min(left, 65536))
                left = int(line.split(b":")[1]) - len(body)
    return head + b"\r\n\r\n" + body


def reply(body: bytes = b"x", status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """A whole reply."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), headers) + body


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer_all(connection: socket.socket) -> None:
    """Answer every request until the client closes."""
    while read_request(connection):
        connection.sendall(reply())


@contextmanager
def serving(lab: ClientLab, handler: Handler, backlog: int = 128) -> Iterator[list[socket.socket]]:
    """Call ``handler`` with each connection in a thread of its own; gives the list of connections accepted so far."""
    accepted: list[socket.socket] = []
    listener = lab.listen(backlog)

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                handler(connection)
            except OSError:
                return  # the client went away, as clients do; what it reports is what is tested

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return  # closed: the test is over
            accepted.append(connection)
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield accepted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in accepted:
            connection.close()
