"""A program that runs in a node without an engine: its pipes are read by threads, its signals go by process handle."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from testbed.errors import ProgramError
from testbed.runtime.node_log import ProgramLog
from testbed.runtime.priority import raise_priority

_STDERR_KEPT = 64 * 1024
_FORK_TIMEOUT_S = 5.0
_SIGNAL_STATUS = 128
"""What a shell, and a container engine, add to the number of the signal that ended a program."""


class NetnsProcess:
    """See the module's text, and ``testbed.runtime.base.Process`` for the contract.

    ``command`` is the whole command line that enters the node; what it starts there is its only child.
    """

    def __init__(self, title: str, command: Sequence[str], environment: Mapping[str, str], log: ProgramLog) -> None:
        self._title = title
        self._log = log
        self._entered = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._stderr = b""
        self._ended = False
        self._pid = 0
        self._handle: int | None = None
        self._signalling = threading.Lock()
        self._readers = [
            threading.Thread(target=self._read_stdout, name=f"{title} stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name=f"{title} stderr", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def lines(self, timeout_s: float) -> list[str]:
        """See the contract."""
        with self._news:
            self._news.wait_for(lambda: self._lines or self._ended, timeout_s)
            taken, self._lines = self._lines, []
            return taken

    def signal(self, name: str) -> None:
        """See the contract."""
        number = signal.Signals[f"SIG{name}"]
        with self._signalling, contextlib.suppress(ProcessLookupError):
            handle = self._child_handle()
            if handle is not None:
                signal.pidfd_send_signal(handle, number)

    def tell(self, line: str) -> None:
        """See the contract."""
        assert self._entered.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._entered.stdin.write(f"{line}\n".encode())
            self._entered.stdin.flush()

    def prefer(self) -> bool:
        """See the contract."""
        with self._signalling:
            handle = self._child_handle()
            return handle is None or raise_priority(self._pid, handle)

    def wait(self, timeout_s: float) -> int:
        """See the contract. What the program printed before it ended has been read when this returns."""
        try:
            status = self._entered.wait(max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{self._title} still runs after {timeout_s:g} s") from None
        for reader in self._readers:
            reader.join(1.0)  # a child of the program may keep the pipe open: its lines are not waited for
        with self._signalling:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
        return exit_status(status)

    def stderr(self) -> str:
        """See the contract."""
        with self._news:
            return self._stderr.decode("utf-8", "replace")

    def _child_handle(self) -> int | None:
        """A handle of the program itself, behind the command that entered the node; None when it has ended."""
        deadline = time.monotonic() + _FORK_TIMEOUT_S
        while self._handle is None and self._entered.poll() is None:
            children = _children(self._entered.pid)
            if children:
                self._pid = children[0]
                self._handle = os.pidfd_open(self._pid)
            elif time.monotonic() > deadline:
                raise ProgramError(f"{self._title} has not entered its node after {_FORK_TIMEOUT_S:g} s")
            else:
                time.sleep(0.002)
        return self._handle

    def _read_stdout(self) -> None:
        assert self._entered.stdout is not None
        for line in self._entered.stdout:
            if not line.endswith(b"\n"):
                break  # the program was killed inside a line
            with self._news:
                self._lines.append(line[:-1].decode("utf-8", "replace"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _read_stderr(self) -> None:
        pipe = self._entered.stderr
        assert isinstance(pipe, io.BufferedReader)
        while chunk := pipe.read1(_STDERR_KEPT):
            with self._news:
                self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]
            self._log.take(chunk)
        self._log.end()


def _children(number: int) -> list[int]:
    """Of a process with one thread. By the kernel's own list, or by looking at every process where it keeps none."""
    try:
        return [int(text) for text in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
    except FileNotFoundError:
        pass
    try:
        return [child.pid for child in psutil.Process(number).children()]
    except psutil.NoSuchProcess:
        return []


def exit_status(returned: int) -> int:
    """A status as a shell says it: 137 for a program ended by SIGKILL."""
    return returned if returned >= 0 else _SIGNAL_STATUS - returned
