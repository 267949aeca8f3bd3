"""A program that runs in a container: an exec whose output a thread reads, signalled by its process number."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from signal import Signals
from typing import Any

import docker
from docker.errors import APIError

from testbed.errors import ProgramError, RuntimeFault

_STDERR_KEPT = 64 * 1024
_HEADER_BYTES = 8
"""Each frame of the engine's stream: one byte for the stream (1 stdout, 2 stderr), three of zero, four of length."""

_PID_FILE = "/dev/shm/testbed-pid-"
_ANNOUNCE = 'echo $$ > "$0" && exec "$@"'
"""The shell writes its own number and becomes the program, so that another exec can signal it where the engine is not
on this machine. /dev/shm is writable in every container, read-only root or not."""

_END_POLL_S = 0.01


class DockerProcess:
    """See ``testbed.runtime.base.Process`` for the contract."""

    def __init__(
        self, client: docker.DockerClient, container: str, title: str, command: Sequence[str], serial: str
    ) -> None:
        self._api = client.api
        self._container = container
        self._title = title
        self._pid_file = _PID_FILE + serial
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._unfinished = b""
        self._stderr = b""
        self._ended = False
        self._host_pid: int | None = None
        try:
            words = ["/bin/sh", "-c", _ANNOUNCE, self._pid_file, *command]
            self._exec = self._api.exec_create(container, words)["Id"]
            self._socket = open_stream(self._api, self._exec)
        except APIError as error:
            raise RuntimeFault(f"{title}: {error.explanation}") from None
        threading.Thread(target=self._read, name=title, daemon=True).start()

    def lines(self, timeout_s: float) -> list[str]:
        """See the contract."""
        with self._news:
            self._news.wait_for(lambda: self._lines or self._ended, timeout_s)
            taken, self._lines = self._lines, []
            return taken

    def signal(self, name: str) -> None:
        """See the contract. On this machine it is one system call, else an exec in the container (some 50 ms)."""
        if self._ended or self._killed_here(Signals[f"SIG{name}"]):
            return
        script = f'pid=$(cat {self._pid_file}) && kill -s {name} "$pid" 2>/dev/null || [ ! -e "/proc/$pid" ]'
        status, out, err = run_exec(self._api, self._container, ["/bin/sh", "-c", script])
        if status != 0 and not self._ended:
            raise RuntimeFault(f"{self._title} cannot be signalled: {(out + err).decode(errors='replace').strip()}")

    def _killed_here(self, number: Signals) -> bool:
        """Signal it by its process number on this machine. False where that is not certain, or not allowed."""
        if self._host_pid is None:
            self._host_pid = int(self._api.exec_inspect(self._exec)["Pid"])
        groups = Path(f"/proc/{self._host_pid}/cgroup")
        try:
            # A process of that number that is not in the container is somebody else's: the engine is elsewhere, or
            # the program has ended and its number is used again.
            if self._host_pid == 0 or self._container not in groups.read_text():
                return False
            os.kill(self._host_pid, number)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        return True

    def wait(self, timeout_s: float) -> int:
        """See the contract."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            self._news.wait_for(lambda: self._ended, timeout_s)
        while True:
            state = self._api.exec_inspect(self._exec)
            if not state["Running"] and state["ExitCode"] is not None:
                return int(state["ExitCode"])
            if time.monotonic() >= deadline:
                raise ProgramError(f"{self._title} still runs after {timeout_s:g} s")
            time.sleep(_END_POLL_S)

    def stderr(self) -> str:
        """See the contract."""
        with self._news:
            return self._stderr.decode("utf-8", "replace")

    def _read(self) -> None:
        try:
            for stream, payload in frames(self._socket):
                with self._news:
                    if stream == 1:
                        *whole, self._unfinished = (self._unfinished + payload).split(b"\n")
                        self._lines += [line.decode("utf-8", "replace") for line in whole]
                    else:
                        self._stderr = (self._stderr + payload)[-_STDERR_KEPT:]
                    self._news.notify_all()
        finally:
            self._socket.close()
            with self._news:
                self._ended = True
                self._news.notify_all()


def open_stream(api: docker.APIClient, exec_id: str) -> Any:
    """Start an exec; its stream, without the client's time-out: a program may be silent for as long as it likes."""
    stream = api.exec_start(exec_id, socket=True)
    raw: Any = getattr(stream, "_sock", stream)
    raw.settimeout(None)
    return stream


def frames(stream: Any) -> Iterator[tuple[int, bytes]]:
    """The frames of an engine's multiplexed stream, as (1 or 2, payload), until it ends or breaks off."""
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
    """That many bytes, fewer at the end. The SDK gives a socket, or a file around one, depending on the transport."""
    receive = getattr(stream, "recv", None) or stream.read
    parts = b""
    while len(parts) < count:
        try:
            part = receive(count - len(parts))
        except (OSError, ValueError):
            break  # the engine closed the connection, or it was closed here: the stream is over
        if not part:
            break
        parts += part
    return parts


def run_exec(
    api: docker.APIClient, container: str, command: Sequence[str], stdin: bytes | None = None
) -> tuple[int, bytes, bytes]:
    """Run a command in a container to its end: its status, stdout and stderr. Raises APIError."""
    created = api.exec_create(container, list(command), stdin=stdin is not None)["Id"]
    stream = open_stream(api, created)
    try:
        if stdin is not None:
            raw = getattr(stream, "_sock", stream)
            threading.Thread(target=_send, args=(raw, stdin), daemon=True).start()
        out, err = b"", b""
        for number, payload in frames(stream):
            if number == 1:
                out += payload
            else:
                err += payload
    finally:
        stream.close()
    while True:
        state = api.exec_inspect(created)
        if not state["Running"]:
            return int(state["ExitCode"]), out, err
        time.sleep(_END_POLL_S)


def _send(raw: Any, data: bytes) -> None:
    """Beside the reading: a program that prints while it reads would else block both sides."""
    try:
        raw.sendall(data)
        raw.shutdown(1)
    except OSError:
        return  # the program ended without reading all: its status says what that means
