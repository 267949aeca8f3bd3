"""The paper's sentences as claims, by the figure or table that they belong to.

Bounds: "as good as" and "not impacted" allow 5 % of loss, "slightly reduced" 10 %, "nearly identical" and "very
similar" 10 % either way, since the paper gives no interval of its own; a figure that the paper states is taken with the
width that its own rounding leaves. Sections and figures are those of Gammo, Brecht, Shukla and Pariag, Ottawa Linux
Symposium 2004.
"""

from __future__ import annotations

from testbed.model.claim import CPU_PER_REPLY, At, Claim, Quantity, Subject, compared
from testbed.model.paper_table_1 import (
    COUNTS,
    EPOLL2_AT_OVERLOAD,
    EPOLL2_WITHIN_CAPACITY,
    LT_CALLS,
    POLL_CALLS,
    SELECT_CALLS,
)
from testbed.model.paper_table_1 import TABLE_1 as TABLE_1


def _as_good(better: str, than: str, sentence: str, source: str) -> tuple[Claim, Claim]:
    """Replies at overload not less, and CPU time per reply at every rate not more, by more than 5 %."""
    name = f"{better}-as-good-as-{than}"
    return (
        compared(name, sentence, source, better, than, at=At.OVERLOAD, at_least=0.95),
        compared(f"{name}-in-cost", sentence, source, better, than, quantity=CPU_PER_REPLY, at_most=1.05),
    )


_FIGURE_1 = "For both workloads select and poll perform as well as epoll-LT."

FIGURE_1 = (
    *_as_good("select", "epoll-lt", _FIGURE_1, "§5, Figure 1"),
    *_as_good("poll", "epoll-lt", _FIGURE_1, "§5, Figure 1"),
    LT_CALLS,
    SELECT_CALLS,
    POLL_CALLS,
)

FIGURE_2 = (
    *_as_good("select", "epoll-lt", _FIGURE_1, "§5, Figure 2"),
    *_as_good("poll", "epoll-lt", _FIGURE_1, "§5, Figure 2"),
)


def _no_benefit(technique: str) -> Claim:
    return compared(
        f"{technique}-no-benefit",
        "Techniques that reduce the number of epoll_ctl calls do not provide significant benefits over epoll-LT.",
        "§5, Figure 3",
        technique,
        "epoll-lt",
        at=At.OVERLOAD,
        at_most=1.05,
    )


def _select_keeps_up(technique: str) -> Claim:
    return compared(
        f"select-as-good-as-{technique}",
        "The performance of select and poll is equal to or slightly better than each of the epoll techniques.",
        "§5, Figure 3",
        "select",
        technique,
        at=At.OVERLOAD,
        at_least=0.95,
    )


FIGURE_3 = (
    *(_no_benefit(technique) for technique in ("epoll-et", "epoll2", "epoll-ctlv")),
    *(_select_keeps_up(technique) for technique in ("epoll-lt", "epoll-et", "epoll2", "epoll-ctlv")),
    *COUNTS,
    *(claim for both in zip(EPOLL2_WITHIN_CAPACITY, EPOLL2_AT_OVERLOAD, strict=True) for claim in both),
)


def _similar(technique: str) -> Claim:
    return compared(
        f"{technique}-similar-on-large-files",
        "All techniques produce very similar results.",
        "§5, Figure 4",
        technique,
        "epoll-lt",
        at=At.OVERLOAD,
        at_least=0.9,
        at_most=1.1,
    )


FIGURE_4 = (
    *(_similar(technique) for technique in ("select", "epoll-et", "epoll2", "epoll-ctlv")),
    compared(
        "epoll-et-ahead-on-large-files",
        "A very slight performance advantage goes to epoll-ET after the saturation point is reached.",
        "§5, Figure 4",
        "epoll-et",
        "epoll-lt",
        at=At.OVERLOAD,
        at_least=1.0,
    ),
)


def _ahead_beside_idle(better: str, worse: str, source: str) -> Claim:
    return compared(
        f"{better}-ahead-of-{worse}",
        "Idle connections cost select, poll and epoll2 much of their throughput, and epoll hardly any.",
        source,
        better,
        worse,
        at=At.OVERLOAD,
        at_least=1.5,
    )


def _loss_beside_idle(without: str, at_most: float, sentence: str, name: str, source: str) -> Claim:
    """What idle connections take from select, as epoll-et of the same two runs sees it: free of the machine's drift."""
    return Claim(
        name=name,
        sentence=sentence,
        source=source,
        quantity=Quantity(name="replies/s", field="replies_per_s"),
        over=(Subject(server="select"), Subject(server="epoll-et", scenario=without)),
        under=(Subject(server="epoll-et"), Subject(server="select", scenario=without)),
        at=At.OVERLOAD,
        at_most=at_most,
    )


def _keeps_beside_idle(server: str, without: str, at_least: float, sentence: str, source: str) -> Claim:
    """A server beside idle connections against itself without: of two runs, and so not free of the drift between."""
    return compared(
        f"{server}-keeps-throughput",
        sentence,
        source,
        server,
        Subject(server=server, scenario=without),
        at=At.OVERLOAD,
        at_least=at_least,
    )


_SLIGHTLY_LESS = "Throughput with level-triggered epoll is slightly reduced with the addition of the idle connections."


def _beside_idle(source: str, without: str) -> tuple[Claim, ...]:
    """What Figures 5 and 6 say alike."""
    ahead = [
        _ahead_beside_idle(better, worse, source)
        for better in ("epoll-lt", "epoll-et")
        for worse in ("select", "poll", "epoll2")
    ]
    return (
        *ahead,
        compared(
            "epoll2-suffers-like-select",
            "The performance of epoll2 with idle connections suffers similarly to select and poll.",
            source,
            "epoll2",
            "select",
            at=At.OVERLOAD,
            at_least=0.8,
            at_most=1.25,
        ),
        compared(
            "epoll-lt-close-to-epoll-et",
            "Edge-triggered epoll performs best, with level-triggered epoll very close to it.",
            f"§6, {source}",
            "epoll-lt",
            "epoll-et",
            at=At.OVERLOAD,
            at_least=0.9,
            at_most=1.02,
        ),
        _loss_beside_idle(without, 0.9, "Idle connections degrade the performance of select.", "select-loses", source),
        _keeps_beside_idle("epoll-et", without, 0.95, "Edge-triggered epoll is not impacted.", source),
        _keeps_beside_idle("epoll-lt", without, 0.9, _SLIGHTLY_LESS, source),
    )


FIGURE_5 = (
    *_beside_idle("§5.1, Figure 5", "figure_3"),
    _loss_beside_idle(
        "figure_3",
        0.3,
        "The performance of select and poll degrades by up to 79 % when 10,000 idle connections are added.",
        "select-loses-79-percent",
        "§5.1, Figures 3 and 5",
    ),
)
"""79 % is the worst of all rates; the mean over the rates at overload may keep as much as 30 %."""

FIGURE_6 = _beside_idle("§5.1, Figure 6", "figure_4")

_TUNED_LT, _TUNED_CTLV = "epoll-lt, accept-limit 10", "epoll-ctlv, accept-limit 10"

_LIMIT_HELPS_LT = compared(
    "accept-limit-helps-epoll-lt",
    "Level-triggered epoll with an accept limit of 10 shows a marked improvement over Inf.",
    "§5.2, Figure 7",
    _TUNED_LT,
    "epoll-lt",
    at=At.OVERLOAD,
    at_least=1.05,
)

FIGURE_7 = (
    _LIMIT_HELPS_LT,
    compared(
        "tuned-epoll-lt-matches-select",
        "Level-triggered epoll with an accept limit of 10 now matches the performance of select.",
        "§5.2, Figure 7",
        _TUNED_LT,
        "select",
        at=At.OVERLOAD,
        at_least=0.95,
        at_most=1.05,
    ),
    compared(
        "accept-limit-raises-epoll-ctlv-peak",
        "The accept limit of 10 also improves peak throughput for epoll-ctlv by 7 %.",
        "§5.2, Figure 7",
        _TUNED_CTLV,
        "epoll-ctlv",
        at=At.PEAK,
        at_least=1.03,
    ),
    compared(
        "accept-limit-widens-with-load",
        "The gap widens to 32 % at 21,000 requests/s.",
        "§5.2, Figure 7",
        _TUNED_CTLV,
        "epoll-ctlv",
        at=At.OVERLOAD,
        at_least=1.1,
    ),
    compared(
        "tuned-epoll-ctlv-ahead-of-select",
        "The best accept strategy for epoll-ctlv fares slightly better than the best for select.",
        "§5.2, Figure 7",
        _TUNED_CTLV,
        "select",
        at=At.OVERLOAD,
        at_least=1.0,
    ),
)


def _grows(server: str, sentence: str, at_least: float | None = None, at_most: float | None = None) -> Claim:
    return compared(
        f"{server}-cost-of-idle",
        sentence,
        "§5.1",
        Subject(server=server, idle_connections=15_000),
        Subject(server=server, idle_connections=0),
        quantity=CPU_PER_REPLY,
        at_least=at_least,
        at_most=at_most,
    )


_SUFFERS = "Idle connections result in dramatic performance degradation when using select, poll or epoll2."

IDLE_SWEEP = (
    *(_grows(server, _SUFFERS, at_least=1.5) for server in ("select", "poll", "epoll2")),
    _grows("epoll-lt", _SLIGHTLY_LESS, at_most=1.1),
    _grows("epoll-ctlv", "Idle connections do not noticeably impact the performance of epoll.", at_most=1.1),
    _grows("epoll-et", "Edge-triggered epoll is not impacted by idle connections.", at_most=1.05),
)

ACCEPT_SWEEP = (
    compared(
        "accepting-all-helps-select",
        "Accepting all pending connections was shown to be effective for select.",
        "§5.2, its reference [4]",
        "select",
        "select, accept-limit 1",
        at=At.OVERLOAD,
        at_least=1.05,
    ),
    _LIMIT_HELPS_LT,
    compared(
        "accept-limit-nothing-for-epoll-et",
        "Varying the accept limit did not improve the performance of the edge-triggered epoll technique.",
        "§5.2",
        "epoll-et, accept-limit 10",
        "epoll-et",
        at=At.OVERLOAD,
        at_most=1.05,
    ),
)

PEERS_IDLE_CONNECTIONS = 8_000
"""Not Figure 5's 10,000: lighttpd takes half as many connections as it has descriptors (20,000), and answers nobody
when idle ones are all of them."""

PEERS = tuple(
    compared(
        f"{server}-does-not-mind-idle",
        "Idle connections do not noticeably impact the performance when using epoll.",
        "§6",
        Subject(server=server, idle_connections=PEERS_IDLE_CONNECTIONS),
        Subject(server=server, idle_connections=0),
        quantity=CPU_PER_REPLY,
        at_most=1.1,
    )
    for server in ("epoll-lt", "nginx", "lighttpd")
)


_FAIR = "Idle connections are a fair stand-in for as many slow ones."
_OPEN_QUESTION = "open in §6, future work"


def _among_slow(server: str) -> Subject:
    return Subject(server=server, where={"surrounding": "access"})


def _among_idle(server: str) -> Subject:
    return Subject(server=server, where={"surrounding": "idle"})


WAN = (
    *(
        compared(
            f"idle-stand-in-costs-{server}-the-same",
            _FAIR,
            _OPEN_QUESTION,
            _among_slow(server),
            _among_idle(server),
            quantity=CPU_PER_REPLY,
            at=At.WITHIN_CAPACITY,
            at_least=0.9,
            at_most=1.1,
        )
        for server in ("select", "poll", "epoll-lt", "epoll-et", "epoll2", "epoll-ctlv")
    ),
    *(
        Claim(
            name=f"idle-stand-in-moves-{server}-as-far",
            sentence="Slow connections set a mechanism back against epoll-LT as far as as many idle ones do.",
            source=_OPEN_QUESTION,
            quantity=CPU_PER_REPLY,
            over=(_among_slow(server), _among_idle("epoll-lt")),
            under=(_among_slow("epoll-lt"), _among_idle(server)),
            at=At.WITHIN_CAPACITY,
            at_least=0.9,
            at_most=1.1,
        )
        for server in ("select", "poll", "epoll2")
    ),
)
"""Cost per reply over access links against that beside idle connections on fast links instead: first each mechanism's
own, then how far it stands from epoll-lt, where what slow connections cost every server (retransmission) cancels.
Within capacity: a server that falls behind gathers slow connections without end, and no idle ones."""
