"""Programs in containers: one run to its end, or one that goes on while a thread reads what it prints."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import docker

from testbed.errors import ProgramError, RuntimeFault
from testbed.runtime.base import Completed
from testbed.runtime.docker_exec import Exec
from testbed.runtime.node_log import ProgramLog

_STDERR_KEPT = 64 * 1024
_END_TIMEOUT_S = 10.0
"""For the engine to learn that a command, whose output has ended or that was killed, is over."""

_STATUS_TIMEOUT_S = 2.0


def run_program(
    api: docker.APIClient, container: str, title: str, command: Sequence[str], timeout_s: float, stdin: bytes = b""
) -> Completed:
    """Run a command to its end. Raises RuntimeFault; one that does not end in time is killed with its children."""
    started = Exec(api, container, title, command, stdin=bool(stdin))
    out: list[bytes] = []
    err: list[bytes] = []

    def read() -> None:
        for stream, payload in started.frames():
            (out if stream == 1 else err).append(payload)

    reader = threading.Thread(target=read, name=title, daemon=True)
    reader.start()
    deadline = time.monotonic() + timeout_s
    if stdin:
        # Beside the reading: a program that prints while it reads would else block both sides.
        threading.Thread(target=started.send, args=(stdin,), name=f"stdin of {title}", daemon=True).start()
    reader.join(timeout_s)
    status = None if reader.is_alive() else started.status(max(deadline - time.monotonic(), _END_TIMEOUT_S))
    if status is None:
        started.kill_all()
        started.status(_END_TIMEOUT_S)
        raise RuntimeFault(f"{title} did not end within {timeout_s:g} s: killed")
    return Completed(status, b"".join(out).decode("utf-8", "replace"), b"".join(err).decode("utf-8", "replace"))


class DockerProcess:
    """See ``testbed.runtime.base.Process`` for the contract."""

    def __init__(
        self, api: docker.APIClient, container: str, title: str, command: Sequence[str], log: ProgramLog
    ) -> None:
        self._log = log
        self._exec = Exec(api, container, title, command, stdin=True)
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._unfinished = b""
        self._stderr = b""
        self._ended = False
        self._status: int | None = None
        threading.Thread(target=self._read, name=title, daemon=True).start()

    def lines(self, timeout_s: float) -> list[str]:
        """See the contract."""
        with self._news:
            self._news.wait_for(lambda: self._lines or self._ended, timeout_s)
            taken, self._lines = self._lines, []
            return taken

    def signal(self, name: str) -> None:
        """See the contract."""
        if not self._ended:
            self._exec.signal(name)

    def tell(self, line: str) -> None:
        """See the contract."""
        self._exec.write(f"{line}\n".encode())

    def prefer(self) -> bool:
        """See the contract."""
        return self._exec.prefer()

    def wait(self, timeout_s: float) -> int:
        """See the contract. The engine is asked only when the output has ended: waiting costs a measurement nothing."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            self._news.wait_for(lambda: self._ended, timeout_s)
            if self._ended and self._status is None:
                # The stream broke off, or something still holds it.
                self._status = self._exec.status(deadline - time.monotonic())
            if self._status is None:
                raise ProgramError(f"{self._exec.title} still runs after {timeout_s:g} s")
            return self._status

    def stderr(self) -> str:
        """See the contract."""
        with self._news:
            return self._stderr.decode("utf-8", "replace")

    def _read(self) -> None:
        try:
            for stream, payload in self._exec.frames():
                with self._news:
                    if stream == 1:
                        *whole, self._unfinished = (self._unfinished + payload).split(b"\n")
                        self._lines += [line.decode("utf-8", "replace") for line in whole]
                    else:
                        self._stderr = (self._stderr + payload)[-_STDERR_KEPT:]
                    self._news.notify_all()
                if stream != 1:
                    self._log.take(payload)
        finally:
            self._log.end()
            status = self._last_status()
            with self._news:
                self._status = status
                self._ended = True
                self._news.notify_all()

    def _last_status(self) -> int | None:
        """Asked for at once: some minutes after its end, the engine has forgotten a command."""
        try:
            return self._exec.status(_STATUS_TIMEOUT_S)
        except RuntimeFault:
            return None  # whoever waits for it asks again, and is told
