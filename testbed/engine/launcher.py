"""Starting programs in a node again and again at little cost.

To start one in a container takes an engine some 75 ms of CPU time: for the clients of one point more than half a
second, on the CPUs that are about to be measured. Here a shell is started in each node once, and starts the programs
there one after the other, in 2 ms each. Every program is a fresh process all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from testbed.errors import ProgramError
from testbed.runtime.base import Process

_LAUNCH = "testbed-launcher: launch "
_ENDED = "testbed-launcher: ended "
_SCRIPT = f"""
set -f
exec 3<&0
over=yes
trap '[ $over ] || kill -s TERM $! 2>/dev/null' TERM
trap '[ $over ] || kill -s USR1 $! 2>/dev/null' USR1
trap '[ $over ] || kill -s KILL $! 2>/dev/null; wait; exit' USR2
while IFS= read -r line; do
  words=${{line#{_LAUNCH}}}
  [ "$words" = "$line" ] && continue
  over=
  $words <&3 3<&- &
  while
    wait $!
    status=$?
    [ $status -gt 128 ] && kill -s 0 $! 2>/dev/null
  do :; done
  over=yes
  echo "{_ENDED}$status"
done
"""
"""A program reads its lines from the shell's own stdin, of which the shell reads none meanwhile. A signal breaks off
``wait``, so it is waited for again while there is somebody to wait for. Lines that a program left unread are skipped.
"""

_KILLED = 137
# Not by HUP: whoever runs under nohup passes it on as ignored, and no shell can trap it then.
_FORWARDED = {"TERM": "TERM", "USR1": "USR1", "KILL": "USR2"}

Start = Callable[[str, Sequence[str]], Process]


class Launcher:
    """``start`` starts a program in a node by the slow way. It may be called for different nodes at the same time."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._latest: dict[str, tuple[Process, Launched]] = {}

    def start(self, node: str, command: Sequence[str], first: bool) -> Process:
        """Start a program, whose words have no blanks, in a node; ``first``: before the others of its CPUs, if granted.

        What the launcher started there before must have ended, or is killed.
        """
        if any(not word or word.split() != [word] for word in command):
            raise ValueError(f"words without blanks only: {list(command)}")
        shell, before = self._latest.get(node, (None, None))
        if shell is None or before is None or not before.made_room():
            shell = self._start(node, ["sh", "-c", _SCRIPT])
            if first:
                shell.prefer()  # what it starts inherits it
        launched = Launched(shell, command[0])
        shell.tell(_LAUNCH + " ".join(command))
        self._latest[node] = shell, launched
        return launched

    def close(self) -> None:
        """Kill what still runs, and end the shells."""
        for shell, _ in self._latest.values():
            shell.signal(_FORWARDED["KILL"])
        self._latest.clear()


class Launched:
    """See ``testbed.runtime.base.Process`` for the contract. Signals other than TERM, USR1 and KILL are not passed on.
    After KILL its shell is gone as well."""

    def __init__(self, shell: Process, name: str) -> None:
        self._shell = shell
        self._name = name
        self._stderr_before = shell.stderr()
        self._unread: list[str] = []
        self._status: int | None = None

    def made_room(self) -> bool:
        """Whether its shell takes the next program; one that still runs is killed, with its shell."""
        self._look(0.0)
        if self._status in (None, _KILLED):
            self._shell.signal(_FORWARDED["KILL"])
            return False
        return True

    def lines(self, timeout_s: float) -> list[str]:
        """See the contract."""
        if not self._unread and self._status is None:
            self._look(timeout_s)
        taken, self._unread = self._unread, []
        return taken

    def signal(self, name: str) -> None:
        """See the contract."""
        if self._status is None:
            self._shell.signal(_FORWARDED[name])

    def tell(self, line: str) -> None:
        """See the contract."""
        if self._status is None:
            self._shell.tell(line)

    def prefer(self) -> bool:
        """Too late: the shell would have to go first."""
        return False

    def wait(self, timeout_s: float) -> int:
        """See the contract."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._look(max(0.0, deadline - time.monotonic()))
            if self._status is not None:
                return self._status
            if time.monotonic() >= deadline:
                raise ProgramError(f"{self._name} still runs after {timeout_s:g} s")

    def stderr(self) -> str:
        """See the contract. What earlier ones wrote is left out, while the shell's holds it all."""
        return self._shell.stderr().removeprefix(self._stderr_before)

    def _look(self, timeout_s: float) -> None:
        """Take what it has printed, waiting up to that time for the first line, and note its end."""
        if self._status is not None:
            return
        came = self._shell.lines(timeout_s)
        if not came and self._shell_ended():
            came = self._shell.lines(0.0)
            self._status = _KILLED
        for line in came:
            printed, ended, status = line.partition(_ENDED)  # it may have died inside a line
            if ended:
                self._status = int(status)
            if printed or not ended:
                self._unread.append(printed)

    def _shell_ended(self) -> bool:
        try:
            self._shell.wait(0.0)
        except ProgramError:
            return False
        return True
