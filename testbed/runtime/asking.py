"""Commands that always print something, run where a busy engine may lose all that a quick one printed.

An old Docker does so now and then: the command ends well, and nothing of its output comes. Nothing printed is
therefore no answer here; the command, which must only look, is run again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from testbed.errors import RuntimeFault
from testbed.runtime.base import Completed

_QUESTIONS = 5


def asked(run: Callable[[Sequence[str]], Completed], command: Sequence[str], where: str) -> Completed:
    """What a command answers. ``run`` runs it to its end; ``where`` says where, for the message ("on server").

    One that fails says why on stderr, and is returned. Raises RuntimeFault when nothing comes, every time.
    """
    for _ in range(_QUESTIONS):
        done = run(command)
        if done.stdout or (done.status != 0 and done.stderr):
            return done
    raise RuntimeFault(f"{shlex.join(command)} {where} printed nothing, {_QUESTIONS} times")
