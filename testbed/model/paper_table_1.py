"""The paper's sentences that hang on counted and timed calls: Table 1, and what §3 and §5 say of its columns.

Bounds are those of ``paper_claims``.
"""

from __future__ import annotations

from testbed.model.claim import At, Claim, Quantity, Subject, compared

_COLUMNS = ("select", "epoll-lt", "epoll-ctlv", "epoll2", "epoll-et", "poll")
_ROWS = {
    "read": (21.51, 20.95, 21.41, 20.08, 22.19, 20.97),
    "close": (14.90, 14.05, 14.90, 13.02, 14.14, 14.79),
    "select": (13.33, None, None, None, None, None),
    "poll": (None, None, None, None, None, 13.32),
    "epoll_ctl": (None, 16.34, 5.98, 10.27, 11.06, None),
    "epoll_wait": (None, 7.15, 6.01, 12.56, 6.52, None),
    "io_uring_enter": (None, None, 9.28, None, None, None),
    "setsockopt": (11.17, 9.13, 9.13, 7.57, 9.08, 10.68),
    "accept": (10.08, 9.51, 9.76, 9.05, 9.30, 10.20),
    "write": (5.98, 5.06, 5.10, 4.13, 5.31, 5.70),
    "fcntl": (3.66, 3.34, 3.37, 3.14, 3.34, 3.61),
    "sendfile": (3.43, 2.70, 2.71, 3.00, 3.91, 3.43),
}
"""As printed, but for the system call that the paper added: its epoll_ctlv is io_uring_enter here."""

SHARES_PERCENT: dict[str, dict[str, float]] = {
    server: {call: row[column] or 0.0 for call, row in _ROWS.items() if row[column] is not None}
    for column, server in enumerate(_COLUMNS)
}
"""Table 1, server → call → per cent of run time by gprof, at 22,000 requests/s of the one-byte workload."""

EPOLL_CTL = Quantity(name="epoll_ctl calls per connection", counts=("syscalls.epoll_ctl.calls",), per="accepted")
CHANGING_CALLS = Quantity(
    name="interest-changing system calls per connection",
    counts=("syscalls.epoll_ctl.calls", "syscalls.io_uring_enter.calls"),
    per="accepted",
)
"""``io_uring_enter`` is epoll-ctlv's flush: what the paper's own epoll_ctlv call was."""
WAITS = Quantity(name="epoll_wait calls per reply", counts=("syscalls.epoll_wait.calls",), per="replies")
EVENTS_PER_WAIT = Quantity(name="events per wait", counts=("events",), per="waits")
USELESS_WAITS = Quantity(name="share of waits that return nothing wanted", counts=("useless_waits",), per="waits")


def _alone(
    name: str,
    sentence: str,
    source: str,
    server: str,
    quantity: Quantity,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Claim:
    subject = Subject(server=server)
    return Claim(
        name=name,
        sentence=sentence,
        source=source,
        quantity=quantity,
        over=(subject,),
        at_least=at_least,
        at_most=at_most,
    )


def _calls(server: str, calls: float, sentence: str, source: str = "§3") -> Claim:
    # A connection that is open at an edge of the window has some of its calls outside of it, and one that gives up
    # before its request is parsed never makes those in the middle.
    return _alone(f"{server}-epoll-ctl-calls", sentence, source, server, EPOLL_CTL, 0.95 * calls, 1.05 * calls)


LT_CALLS = _calls("epoll-lt", 4, "Level-triggered epoll calls epoll_ctl at each change of state: 4 times a connection.")
ET_CALLS = _calls("epoll-et", 2, "Edge-triggered epoll registers a connection once and removes it once.")
EPOLL2_CALLS = _calls("epoll2", 2, "epoll2 registers a connection for reading and writing once and removes it once.")
SELECT_CALLS = _calls("select", 0, "select needs no system call to change its interest.")
POLL_CALLS = _calls("poll", 0, "poll needs no system call to change its interest.")


CTLV_HALVES_CALLS = compared(
    "epoll-ctlv-halves-calls",
    "epoll_ctlv and epoll_ctl combine for 1,949,404 calls, compared with 3,947,769 epoll_ctl calls of epoll-LT.",
    "§5, on Table 1",
    "epoll-ctlv",
    "epoll-lt",
    quantity=CHANGING_CALLS,
    at=At.OVERLOAD,
    at_least=0.44,
    at_most=0.54,
)
"""0.49, give or take 0.05."""


def _epoll2(at: At, where: str) -> tuple[Claim, ...]:
    """What the paper says of epoll2's waits at 22,000 requests/s; it hangs on whether they find events waiting."""
    source = "§5, on Table 1"
    subject = Subject(server="epoll2")
    return (
        Claim(
            name=f"epoll2-useless-waits-{where}",
            sentence="With epoll2 less than 1 % of the calls to epoll_wait return events that need to be acted upon.",
            source=source,
            quantity=USELESS_WAITS,
            over=(subject,),
            at=at,
            at_least=0.99,
        ),
        compared(
            f"epoll2-waits-more-{where}",
            "With epoll2 the number of calls to epoll_wait is significantly higher.",
            source,
            subject,
            "epoll-lt",
            quantity=WAITS,
            at=at,
            at_least=1.5,
        ),
        compared(
            f"epoll2-fewer-events-{where}",
            "With epoll2 the average number of descriptors returned is lower.",
            source,
            subject,
            "epoll-lt",
            quantity=EVENTS_PER_WAIT,
            at=at,
            at_most=1.0,
        ),
    )


COUNTS = (LT_CALLS, ET_CALLS, EPOLL2_CALLS, SELECT_CALLS, CTLV_HALVES_CALLS)
EPOLL2_WITHIN_CAPACITY = _epoll2(At.WITHIN_CAPACITY, "within-capacity")
EPOLL2_AT_OVERLOAD = _epoll2(At.OVERLOAD, "at-overload")


def _share(name: str, server: str, calls: tuple[str, ...], sentence: str) -> Claim:
    """The paper's share, give or take a quarter of it: as far as its columns differ in rows that should be equal."""
    quantity = Quantity(name=f"% of CPU time in {' + '.join(calls)}", shares=calls)
    theirs = sum(SHARES_PERCENT[server][call] for call in calls)
    low, high = round(0.75 * theirs, 1), round(1.25 * theirs, 1)
    return _alone(f"{server}-{name}-share", sentence, "§5, on Table 1", server, quantity, low, high)


_EVENTS = "select and poll spend about 13 % of their time indicating and obtaining events of interest."
_EPOLL_EVENTS = "epoll-LT, epoll-ctlv and epoll2 spend about 21 – 23 % of their time on their equivalent functions."
_CHANGES = "epoll-ctlv takes about as much time (around 16 %) in epoll_ctlv and epoll_ctl as epoll-LT in epoll_ctl."
_LESS_CHANGES = "The time in epoll_ctl has been reduced using epoll-ET from 16 % to 11 %."

TABLE_1 = (
    _share("event", "select", ("select",), _EVENTS),
    _share("event", "poll", ("poll",), _EVENTS),
    _share("event", "epoll-lt", ("epoll_ctl", "epoll_wait"), _EPOLL_EVENTS),
    _share("event", "epoll-ctlv", ("epoll_ctl", "io_uring_enter", "epoll_wait"), _EPOLL_EVENTS),
    _share("event", "epoll2", ("epoll_ctl", "epoll_wait"), _EPOLL_EVENTS),
    _share("change", "epoll-lt", ("epoll_ctl",), _CHANGES),
    _share("change", "epoll-ctlv", ("epoll_ctl", "io_uring_enter"), _CHANGES),
    _share("change", "epoll-et", ("epoll_ctl",), _LESS_CHANGES),
    compared(
        "epoll-et-cheaper-epoll-ctl",
        _LESS_CHANGES,
        "§5, on Table 1",
        "epoll-et",
        "epoll-lt",
        quantity=Quantity(name="% of CPU time in epoll_ctl", shares=("epoll_ctl",)),
        at_most=0.8,
    ),
    *COUNTS,
    POLL_CALLS,
    *EPOLL2_AT_OVERLOAD,
)
