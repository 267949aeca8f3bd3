"""How much one core of generator offers, and what ab and wrk reach on the same core in the same minute."""

from __future__ import annotations

import re
from statistics import median

from testbed.engine.lab import Lab
from testbed.model.histogram import Histogram
from tests.benchmark.outcome import Outcome
from tests.benchmark.world import Load, inside, offer, server

_RATES = (10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000, 100_000)
_SECONDS = 4
_TIMES = 3


def main() -> list[Outcome]:
    """The classical clients first: nothing of a flood is then left in the server's queues."""
    with Lab(name="bench-generator") as lab:
        ab, wrk = _ab(lab), _wrk(lab)
        print(f"ab {ab:,.0f}/s, wrk {wrk:,.0f}/s (one connection per request, closed loop)", flush=True)
        good, replies = 0.0, 0.0
        for rate in _RATES:
            answered = _offer(lab, rate)
            if answered is not None:
                good, replies = rate, answered
    return [
        Outcome("highest rate offered with ≥ 99.5 % sent and p99 lateness ≤ 1 ms", good, "connections/s", 50_000),
        Outcome("the same ÷ what ab reaches, which offers no more than is answered", good / ab, "×"),
        Outcome("the same ÷ what wrk reaches, likewise", good / wrk, "×"),
        Outcome("replies at that rate, as many as the server gives", replies, "replies/s"),
        Outcome("ab: replies", ab, "replies/s"),
        Outcome("wrk: replies", wrk, "replies/s"),
    ]


def _offer(lab: Lab, rate: float) -> float | None:
    """Offer a rate a few times; returns replies/s if it was really offered (both by the medians), else None.

    What was sent is held against what the arrival process had drawn for the window: an exponential one draws more or
    fewer than the rate says.
    """
    sent, late_ms, replies = [], [], []
    for _ in range(_TIMES):
        with server(lab) as userver:
            window = offer(lab, lab.clients[0], Load(rate))["window"]
            userver.finish(10, ask=True)
        sent.append(window["sent_per_s"] * window["seconds"] / window["intended"])
        late_ms.append((Histogram.merged([window["lateness_ns"]]).quantile(0.99) or 0) / 1e6)
        cpu = window["cpu_us"] / 1e6 / window["seconds"]
        replies.append(window["replies_per_s"])
        print(
            f"{rate:7,} /s: sent {sent[-1]:.2%}, p99 lateness {late_ms[-1]:.2f} ms, CPU {cpu:.0%}, "
            f"{replies[-1]:,.0f} replies/s",
            flush=True,
        )
    return median(replies) if median(sent) >= 0.995 and median(late_ms) <= 1.0 else None


def _ab(lab: Lab) -> float:
    address = lab.placed.gateway_of(lab.clients[0], lab.server)[1]
    command = [
        "ab",
        "-q",
        "-r",
        "-s",
        "2",
        "-t",
        str(_SECONDS),
        "-n",
        "10000000",
        "-c",
        "64",
        f"http://{address}/1.bin",
    ]
    return _rate(lab, command, r"Requests per second:\s+([\d.]+)")


def _wrk(lab: Lab) -> float:
    address = lab.placed.gateway_of(lab.clients[0], lab.server)[1]
    command = ["wrk", "-t1", "-c64", f"-d{_SECONDS}s", "-H", "Connection: close", f"http://{address}/1.bin"]
    return _rate(lab, command, r"Requests/sec:\s+([\d.]+)")


def _rate(lab: Lab, command: list[str], pattern: str) -> float:
    with server(lab, "epoll-lt", "--backlog", "4096") as userver:
        done = inside(lab, lab.clients[0], command, timeout_s=_SECONDS * 4)
        userver.finish(10, ask=True)
    found = re.search(pattern, done.stdout)
    if found is None:
        raise AssertionError(f"{command[0]} told no rate: {done.stdout[-300:]} {done.stderr[-300:]}")
    return float(found[1])
