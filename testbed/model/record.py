"""One finished point as it stands in ``points.jsonl``."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from testbed.model.intervals import Intervals
from testbed.model.value import Value


class Verdict(StrEnum):
    """Whether a point's numbers can be believed, from best to worst."""

    VALID = "valid"
    SUSPECT = "suspect"
    CLIENT_LIMITED = "client-limited"
    INVALID = "invalid"


class Quantiles(Value):
    """Response times in milliseconds, from the intended start to the last byte of the reply.

    Of answered requests only: what timed out or was refused is among the errors, and in none of them. None without
    replies.
    """

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class Errors(Value):
    """httperf's classes of failed calls, counted over starts that were intended inside the window."""

    client_timo: int = 0
    socket_timo: int = 0
    connrefused: int = 0
    connreset: int = 0
    fd_unavail: int = 0
    addrunavail: int = 0
    ftab_full: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All classes together."""
        return sum(self.model_dump().values())


Surrounding = Literal["access", "idle", "neither"]


class Record(Value):
    """The line of one point. Rates are per second of the measurement window, over all clients.

    ``sent_per_s`` is the requests of the connections really started: what was offered, whatever the server did.
    ``requests_per_s`` is the requests that really left, fewer where sessions wait for replies; None in results from
    before they were counted, whose ``sent_per_s`` is connections times the workload's mean requests. Of a trace only
    the first sessions may have been played: their mean is another than the workload's, by which ``offered_per_s``
    starts them. ``server_cpu_us_per_reply`` is user and system time of the server's processes in the window divided by
    the replies in it. ``raw`` keeps what the programs printed.
    ``access`` names the access links of the clients' hosts, empty where they had none. ``open_connections_…`` are those
    of the clients at a time, from SYN to the end of closing, over the window; ``established_connections_…`` those among
    them that the server had answered and that were not finished: what it holds open. Maxima are summed over the
    clients. None in results from before they were counted.
    ``intervals`` is None in results from before they were kept.
    """

    point: str
    label: str
    server: dict[str, Any]
    mechanism: str
    accept_limit: int | None
    workload: str
    offered_per_s: float
    repetition: int
    sent_per_s: float
    requests_per_s: float | None = None
    replies_per_s: float
    errors: Errors
    response_ms: Quantiles
    server_cpu_us_per_reply: float | None
    idle_connections: int
    idle_connections_minimum: int
    access: str = ""
    open_connections_mean: float | None = None
    open_connections_max: int | None = None
    established_connections_mean: float | None = None
    established_connections_max: int | None = None
    verdict: Verdict
    reasons: tuple[str, ...]
    evidence: dict[str, Any]
    intervals: Intervals | None = None
    raw: dict[str, Any]

    @property
    def surrounding(self) -> Surrounding:
        """What else there was: access links, or idle connections instead, or neither."""
        if self.access:
            return "access"
        return "idle" if self.idle_connections else "neither"
