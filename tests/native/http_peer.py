"""An HTTP client that says exactly the bytes it is told to, and the files that the HTTP cases ask for."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 15.0
LARGE = bytes(i * i * 31 % 251 for i in range(1 << 16)) * 48  # 3 MiB: no send buffer has room for two
FILES = {
    "1.bin": b"x",
    "empty.bin": b"",
    "index.html": b"<p>hello</p>\n",
    "with space.txt": b"a name to be decoded\n",
    "dir00000/class0_0": b"0" * 102,
    "dir00000/class2_8": b"2" * 92160,
    "large.bin": LARGE,
}


def write_docroot(root: Path) -> Path:
    """Writes what the cases ask for."""
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


@dataclass(frozen=True)
class Reply:
    """One parsed reply; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Peer:
    """A client connection that says exactly the bytes it is told to."""

    def __init__(self, host: str, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str, version: str = "1.1", extra: str = "", method: str = "GET") -> None:
        """Sends one request."""
        self.send(f"{method} {path} HTTP/{version}\r\nHost: test\r\n{extra}\r\n".encode())

    def finish_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def _fill(self) -> None:
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise EOFError(f"the server closed in the middle of a reply: {self.buffer[:200]!r}")
        self.buffer += piece

    def reply(self, *, head: bool = False) -> Reply:
        """Reads one reply, by its Content-Length; none of its body for an answer to HEAD."""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        header, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = header.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head else int(headers["content-length"])
        while len(self.buffer) < length:
            self._fill()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(int(status), headers, body)

    def closed(self) -> bool:
        """True when the server has closed, cleanly and with nothing more said."""
        return self.buffer == b"" and self.socket.recv(1) == b""
