"""Reads what httperf prints (httperf(1), OUTPUT): the parts that a cross-check compares."""

from __future__ import annotations

import re

from testbed.errors import ProgramError
from testbed.model.record import Errors
from testbed.model.value import Value

RESOLUTION_MS = 0.05
"""How far a time that httperf prints may lie from what it measured: it prints tenths of a millisecond."""

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_CLASSES = {
    "client-timo": "client_timo",
    "socket-timo": "socket_timo",
    "connrefused": "connrefused",
    "connreset": "connreset",
    "fd-unavail": "fd_unavail",
    "addrunavail": "addrunavail",
    "ftab-full": "ftab_full",
    "other": "other",
}


class HttperfResult(Value):
    """``connect_ms``, ``response_ms`` and ``transfer_ms`` are means; ``cpu_s`` is httperf's own CPU time."""

    connections: int
    requests: int
    replies: int
    duration_s: float
    connect_ms: float
    response_ms: float
    transfer_ms: float
    replies_2xx: int
    cpu_s: float
    errors: Errors


def parse_httperf(text: str) -> HttperfResult:
    """Read httperf's standard output. Raises ProgramError that names the first line that is missing."""
    total = _line(text, rf"Total: connections {_NUMBER} requests {_NUMBER} replies {_NUMBER} test-duration {_NUMBER} s")
    reply = _line(text, rf"Reply time \[ms\]: response {_NUMBER} transfer {_NUMBER}")
    status = _line(text, r"Reply status: 1xx=\d+ 2xx=(\d+) 3xx=\d+ 4xx=\d+ 5xx=\d+")
    cpu = _line(text, rf"CPU time \[s\]: user {_NUMBER} system {_NUMBER}")
    errors = _errors(text)
    return HttperfResult(
        connections=int(total[0]),
        requests=int(total[1]),
        replies=int(total[2]),
        duration_s=float(total[3]),
        connect_ms=float(_line(text, rf"Connection time \[ms\]: connect {_NUMBER}")[0]),
        response_ms=float(reply[0]),
        transfer_ms=float(reply[1]),
        replies_2xx=int(status[0]),
        cpu_s=float(cpu[0]) + float(cpu[1]),
        errors=errors,
    )


def _line(text: str, pattern: str) -> tuple[str, ...]:
    found = re.search(rf"^{pattern}", text, re.MULTILINE)
    if found is None:
        raise ProgramError(f"httperf printed no line {pattern.split(':')[0].replace(chr(92), '')!r}")
    return found.groups()


def _errors(text: str) -> Errors:
    """From both lines of errors: the total and four classes, then the other four."""
    together = " ".join(re.findall(r"^Errors: (.*)$", text, re.MULTILINE))
    counts: dict[str, int] = {}
    for theirs, ours in _CLASSES.items():
        found = re.search(rf"(?:^|\s){theirs} ([0-9]+)", together)
        if found is None:
            raise ProgramError(f"httperf printed no count of {theirs} errors")
        counts[ours] = int(found[1])
    return Errors(**counts)
