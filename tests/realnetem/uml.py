"""Runs a command on a kernel of its own that has netem: user-mode-linux over this machine's files.

Nothing of the machine changes: what the command writes goes to a memory file system of that kernel. It has one CPU and
slow system calls, so it says what works and never how fast.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INIT = Path(__file__).with_name("init.sh")
PROGRAM = "linux.uml"
PACKAGE = "user-mode-linux"
_MEMORY_MIB = 1024
_TAIL_LINES = 30


class UmlFailure(Exception):
    """The kernel crashed, never finished, or the command left no status."""


@dataclass(frozen=True)
class Finished:
    """A command that ran to its end: its exit status, and what it wrote on stdout and stderr together."""

    status: int
    output: str


def lacks() -> str:
    """What this machine lacks to boot one; "" when nothing."""
    missing = [name for name in (PROGRAM, "insmod", "ip") if shutil.which(name, path=_PATH) is None]
    packages = {PROGRAM: PACKAGE, "insmod": "kmod", "ip": "iproute2"}
    if missing:
        return f"not installed: {', '.join(packages[name] for name in missing)}"
    return "" if os.geteuid() == 0 else "the command needs root, and files of the host as root sees them"


def run(
    command: Sequence[str], folder: Path, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Finished:
    """Boot, run ``command`` in ``folder``, switch off. Raises UmlFailure."""
    with tempfile.TemporaryDirectory(prefix="testbed-uml-") as exchange:
        return _run(command, folder, timeout_s, environment or {}, Path(exchange))


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _run(
    command: Sequence[str], folder: Path, timeout_s: float, environment: Mapping[str, str], exchange: Path
) -> Finished:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    script = [*exports, f"cd {shlex.quote(str(folder))}", f"exec {shlex.join(command)}"]
    (exchange / "command.sh").write_text("".join(f"{line}\n" for line in script))
    console = exchange / "console"
    with console.open("wb") as log:
        kernel = subprocess.Popen(
            _kernel_command(exchange),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": _PATH, "HOME": str(exchange), "TMPDIR": _memory_folder(exchange)},
            start_new_session=True,
        )
        try:
            kernel.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise UmlFailure(_report(f"not done after {timeout_s:g} s", exchange)) from None
        finally:
            _end(kernel)
    status = exchange / "status"
    if not status.exists():
        raise UmlFailure(_report(f"the kernel ended ({kernel.returncode}) and left no status", exchange))
    return Finished(int(status.read_text()), _text(exchange / "output"))


def _kernel_command(exchange: Path) -> list[str]:
    arguments = [PROGRAM, f"mem={_MEMORY_MIB}M", f"uml_dir={exchange}", "umid=kernel"]
    arguments += ["rootfstype=hostfs", "rootflags=/", "ro", f"init={INIT}"]
    arguments += ["con=null", "con0=null,fd:1", "ssl=null", "panic=-1", "loglevel=5", "random.trust_cpu=1"]
    # What the kernel does not know it hands to the first process as its environment.
    return [*arguments, f"TESTBED_EXCHANGE={exchange}", f"TESTBED_PYTHON={Path(sys.executable).resolve()}"]


def _memory_folder(exchange: Path) -> str:
    """Where the file that is the kernel's memory lies: in memory too if there is room for programs to run from."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        facts = os.statvfs(shared)
        if facts.f_bavail * facts.f_frsize > 2 * _MEMORY_MIB * 2**20 and not facts.f_flag & os.ST_NOEXEC:
            return str(shared)
    return str(exchange)


def _end(kernel: subprocess.Popen[bytes]) -> None:
    """The kernel's own processes are in its session: none may stay."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()


def _report(what: str, exchange: Path) -> str:
    parts = [what]
    for name in ("output", "console"):
        lines = _text(exchange / name).splitlines()[-_TAIL_LINES:]
        parts.append(f"--- {name} ---\n" + "\n".join(lines))
    return "\n".join(parts)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
