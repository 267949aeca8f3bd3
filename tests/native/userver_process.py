"""Builds and drives the µserver: what every test of it, or against it, starts from."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "images"
START_LIMIT_S = 20.0


@functools.cache
def build(
    *, sanitize: bool = False, compiler: str | None = None, extra: Path | None = None, name: str | None = None
) -> Path:
    """Builds the µserver and returns its path; does nothing where it is up to date.

    `extra` is a folder of further C files (EXTRA_MECH), `name` a build folder of its own below images/build.
    """
    folder = Path("build") / (name or ("sanitized" if sanitize else ""))
    command = ["make", "--no-print-directory", "-j2", f"BUILD={folder}", str(folder / "userver")]
    command += ["SANITIZE=1"] if sanitize else []
    command += [f"CC={compiler}"] if compiler else []
    command += [f"EXTRA_MECH={extra}"] if extra else []
    (IMAGES / folder).mkdir(parents=True, exist_ok=True)
    with (IMAGES / folder / ".lock").open("w") as lock:  # test processes beside each other share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, cwd=IMAGES, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return IMAGES / folder / "userver"


def mechanism_names() -> list[str]:
    """The mechanisms by their files, without building anything: `--list-mechs` must agree (a test checks it)."""
    return sorted(path.stem for path in (IMAGES / "server" / "mech").glob("*.c"))


@functools.cache
def unavailable(binary: Path) -> Mapping[str, str]:
    """Mechanism → why it does not work here, from `--list-mechs --probe`."""
    text = subprocess.run(
        [binary, "--list-mechs", "--probe"], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    lines = [line.split(" ", 1) for line in text.splitlines()]
    return {name: verdict.removeprefix("unavailable: ") for name, verdict in lines if verdict != "ok"}


class Server:
    """A running µserver. `stop()` returns its summary; leaving the context stops it too."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the server)
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, **environment}
        )
        self.result: dict[str, Any] | None = None
        self.host = "127.0.0.1"
        try:
            self.ready = self.line("ready")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.port: int = self.ready["port"]

    def error_text(self) -> str:
        """What it wrote on stderr so far (where the sanitizers report)."""
        self.errors.seek(0)
        return self.errors.read()

    def line(self, kind: str) -> dict[str, Any]:
        """The next line of output, which must be of this type."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"the server ended with {self.process.wait(START_LIMIT_S)}: {self.error_text()}")
        line: dict[str, Any] = json.loads(text)
        if line["type"] != kind:
            raise RuntimeError(f"expected {kind}: {line} {self.error_text()}")
        return line

    def counters(self) -> dict[str, Any]:
        """Every counter now, by SIGUSR1."""
        self.process.send_signal(signal.SIGUSR1)
        return self.line("interval")

    def counters_when(self, key: str, value: int, *, limit_s: float = 10.0) -> dict[str, Any]:
        """The counters once `key` has this value; the last ones seen if it never has."""
        until = time.monotonic() + limit_s
        while (counters := self.counters())[key] != value and time.monotonic() < until:
            time.sleep(0.01)
        return counters

    def stop(self) -> dict[str, Any]:
        """Ends it by SIGTERM and returns the summary; raises if it did not end cleanly. Twice is fine."""
        if self.result is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.result = self.line("summary")
                status = self.process.wait(START_LIMIT_S)
            finally:
                self.close()
            if status != 0:
                raise RuntimeError(f"the server ended with {status}: {self.error_text()}")
        return self.result

    def close(self) -> None:
        """Makes sure that nothing runs any more."""
        if self.process.poll() is None:
            try:
                self.process.wait(START_LIMIT_S if self.result else 0.5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
            return
        self.process.kill()
        self.close()


def start(
    mechanism: str,
    *,
    docroot: Path,
    binary: Path | None = None,
    environment: Mapping[str, str] | None = None,
    wrapper: tuple[str, ...] = (),
    **flags: str | int | bool,
) -> Server:
    """Starts a server on a free port of 127.0.0.1 and waits until it is ready.

    `flags` are those of `userver --help`, with underscores for dashes; True is a switch. `wrapper` is a command that
    starts it, such as `prlimit …`.
    """
    given: dict[str, str | int | bool] = {"bind": "127.0.0.1", "port": 0, "mech": mechanism, "docroot": str(docroot)}
    command = [*wrapper, str(binary or build())]
    for name, value in (given | flags).items():
        flag = "--" + name.replace("_", "-")
        command += [flag] if value is True else [flag, str(value)]
    return Server(command, environment or {})
