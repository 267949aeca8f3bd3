"""One command in a container: an exec of the engine, its two output streams, its end, and signals to it.

Each carries a mark in its environment. By it the command is found inside the container, whatever engine runs that
container and wherever: process numbers that the engine tells mean something on its own machine only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker

from testbed.errors import RuntimeFault
from testbed.runtime.docker_engine import faults
from testbed.runtime.priority import raise_priority

_MARK = "TESTBED_EXEC"
_HEADER_BYTES = 8
"""Each frame of the engine's stream: one byte for the stream (1 stdout, 2 stderr), three of zero, four of length."""

_POLL_S = 0.02
"""A command takes 80 ms to start; asking costs the engine some milliseconds of CPU time."""
_BEGIN_TIMEOUT_S = 20.0

_SIGNAL_SCRIPT = """
for round in 1 2 3; do
  for p in /proc/[0-9]*; do
    grep -qs "$1" "$p/environ" || continue
    [ "$3" = all ] || grep -qs "^PPid:[^0-9]*0$" "$p/status" || continue
    kill -s "$2" "${p#/proc/}" 2>/dev/null
  done
  [ "$3" = all ] || break
done
true
"""
"""Mark, signal, "all" or "one". What the engine started itself has no parent inside; "all" also finds its children,
again and again because they may be starting more."""


class Exec:
    """A command under way. Raises RuntimeFault when the engine cannot start it (no such program, say)."""

    def __init__(
        self, api: docker.APIClient, container: str, title: str, command: Sequence[str], stdin: bool = False
    ) -> None:
        self.title = title
        self._api = api
        self._container = container
        self._mark = f"{_MARK}={uuid4().hex}"
        self._pid = 0
        self._handle: int | None = None
        self._handle_lock = threading.Lock()
        with faults(title):
            created = api.exec_create(container, list(command), stdin=stdin, environment=[self._mark])
            self._id = str(created["Id"])
            self._stream: Any = api.exec_start(self._id, socket=True)
            # The client's timeout for answers holds for this socket too: a silent program would look like an ended one.
            self._socket = _raw(self._stream)
            self._socket.settimeout(None)
            self._output = _buffered(self._stream)
            try:
                self._begin()
            except BaseException:
                self._stream.close()
                raise

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """What it prints, as (1 stdout or 2 stderr, bytes), until it ends. Closes the stream."""
        try:
            yield from _frames(self._output)
        finally:
            self._stream.close()

    def send(self, data: bytes) -> None:
        """Its whole stdin. A command that ends without reading all of it is no error here: its status tells."""
        self.write(data)
        with contextlib.suppress(OSError, ValueError):
            self._socket.shutdown(socket.SHUT_WR)

    def write(self, data: bytes) -> None:
        """More of its stdin. No error if it has ended."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.sendall(data)

    def status(self, timeout_s: float) -> int | None:
        """The exit status, None if it still runs after that time. The engine learns of an end a moment after it."""
        deadline = time.monotonic() + timeout_s
        while True:
            state = self._inspect()
            if not state["Running"] and state["ExitCode"] is not None:
                self._forget_handle()
                return int(state["ExitCode"])
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_S)

    def signal(self, name: str) -> None:
        """Send it a signal by name ("TERM"). No error if it has ended. Raises RuntimeFault."""
        if name not in {each.name.removeprefix("SIG") for each in signal.Signals}:
            raise ValueError(f"{name!r} is no name of a signal")
        with self._handle_lock:
            if self._handle is not None and sys.platform == "linux":
                try:
                    signal.pidfd_send_signal(self._handle, signal.Signals[f"SIG{name}"])
                except ProcessLookupError:
                    return
                return
        self._signal_inside(name, "one")

    def prefer(self) -> bool:
        """Give it the highest nice level; whether that could be done."""
        with self._handle_lock:
            if self._handle is None or sys.platform != "linux":
                return False
            return raise_priority(self._pid, self._handle)

    def kill_all(self) -> None:
        """Kill it and everything that it has started. Raises RuntimeFault."""
        self._signal_inside("KILL", "all")

    def _signal_inside(self, name: str, whom: str) -> None:
        words = ["/bin/sh", "-c", _SIGNAL_SCRIPT, "signal", self._mark, name, whom]
        helper = Exec(self._api, self._container, f"signal {name} to {self.title}", words)
        said = b"".join(payload for _, payload in helper.frames())
        if helper.status(_BEGIN_TIMEOUT_S) != 0:
            raise RuntimeFault(f"{self.title} cannot be signalled: {said.decode('utf-8', 'replace').strip()}")

    def _begin(self) -> None:
        """Wait until it runs: only then can a signal reach it. Keep a handle of it where it runs on this machine."""
        deadline = time.monotonic() + _BEGIN_TIMEOUT_S
        while True:
            state = self._inspect()
            if state["Pid"]:
                self._pid = int(state["Pid"])
                self._handle = _process_handle(self._pid, self._container)
                return
            if not state["Running"] and state["ExitCode"] is not None:
                # It never ran. The engine tells why in the place of the command's output.
                words = b"".join(payload for _, payload in _frames(self._output)).decode("utf-8", "replace")
                raise RuntimeFault(f"{self.title} cannot be started: {' '.join(words.split())}")
            if time.monotonic() > deadline:
                raise RuntimeFault(f"{self.title} has not started after {_BEGIN_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)

    def _inspect(self) -> dict[str, Any]:
        with faults(self.title):
            state: dict[str, Any] = self._api.exec_inspect(self._id)
            return state

    def _forget_handle(self) -> None:
        with self._handle_lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None


def _process_handle(pid: int, container: str) -> int | None:
    """A handle of a process of that container, None where it cannot be had: not root, or another machine's engine."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None  # it has ended, or is on another machine: then signals take the way through the engine
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        groups = ""
    if container in groups:
        return handle
    os.close(handle)
    return None


def _raw(stream: Any) -> Any:
    """The socket itself: the SDK gives it, or a file around it, depending on the transport."""
    return getattr(stream, "_sock", stream)


def _buffered(stream: Any) -> Any:
    """What to read from: a short command's output may have come with the answer's header, and stand in the buffer from
    which the SDK read that header. The socket that it hands out does not have it any more.
    """
    response = getattr(stream, "_response", None)
    buffer = getattr(getattr(getattr(response, "raw", None), "_fp", None), "fp", None)
    return buffer if hasattr(buffer, "read1") else stream


def _frames(stream: Any) -> Iterator[tuple[int, bytes]]:
    while True:
        header = _exactly(stream, _HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            return
        number, length = struct.unpack(">BxxxL", header)
        payload = _exactly(stream, length)
        if payload:
            yield number, payload
        if len(payload) < length:
            return


def _exactly(stream: Any, count: int) -> bytes:
    """That many bytes, fewer at the end."""
    receive = getattr(stream, "read1", None) or getattr(stream, "recv", None) or stream.read
    parts: list[bytes] = []
    while count > 0:
        try:
            part = receive(count)
        except (OSError, ValueError):
            break  # the engine closed the connection, or it was closed here: the stream is over
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
