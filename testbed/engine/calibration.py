"""Rates that suit this machine: finds each server's knee with a few short trials and places rates around the knees.

The paper's rates end at 30,000 requests/s because its server did. The knee is the highest rate at which nearly every
request is answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from testbed.engine.lab import Lab
from testbed.engine.point import observe
from testbed.engine.recording import record_of
from testbed.engine.sweep import Point
from testbed.errors import ProgramError, RunError
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server

_LEAST_RATE, _FIRST_RATE, _LAST_RATE = 31.25, 2_000.0, 512_000.0
_ANSWERED = 0.95
"""Of what was sent. Lower is past the knee."""

_HALVINGS = 3
"""After the doubling, the knee lies between two rates; each trial halves the gap: to an eighth of it in the end."""

_WINDOW_S = 0.5
_SESSIONS = 200
"""A trial has at least so many: what begins before its window and ends inside, or the other way round, is then little
beside the twentieth that decides."""

SHARES = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0)
"""Of the highest knee: the straight part, the bend, and well past it. Lower knees get the rates beside themselves."""

_BESIDE = (0.9, 1.1)
_ROUND_TO = 100
"""Requests/s; of rates below 1000, a tenth of their highest digit."""


def find_rates(
    lab: Lab, scenario: Scenario, profile: Profile, seed: int, tell: Callable[[str], None]
) -> tuple[float, ...]:
    """The rates for a scenario, ascending, in requests/s. ``tell`` hears each knee as it is found.

    Every server is tried beside the largest idle population, with the warm-up and the time-out of ``profile``. Raises
    RunError where a server answers no rate, and where a trial is invalid or fails twice.
    """
    knees = []
    for server in scenario.servers:
        knee, client_limited = find_knee(lab, scenario, profile, server, seed)
        knees.append(knee)
        said = f"{server.label} answers up to about {knees[-1]:,.0f}/s"
        if client_limited:
            said = f"{server.label} answers {knees[-1]:,.0f}/s and more: the clients can offer no more"
        tell(said)
    return around(knees)


def find_knee(lab: Lab, scenario: Scenario, profile: Profile, server: Server, seed: int) -> tuple[float, bool]:
    """The highest rate, in requests/s, that a server was found to answer, and whether the clients could offer no more.

    Raises RunError as ``find_rates`` does.
    """
    trials = _Trials(lab, scenario, profile, server, seed)
    knee = knee_between(trials.answered, (_LEAST_RATE, _FIRST_RATE, _LAST_RATE), server.label)
    return knee, trials.client_limited


def around(knees: list[float]) -> tuple[float, ...]:
    """Rates around knees: spread over the highest, two beside each of the others; none within 4 % of another."""
    highest = max(knees)
    wanted = [highest * share for share in SHARES]
    wanted += [knee * share for knee in knees if knee < highest for share in _BESIDE]
    rates: list[float] = []
    for rate in sorted(wanted):
        step = min(_ROUND_TO, 10.0 ** (math.floor(math.log10(rate)) - 1))
        rounded = round(rate / step) * step
        if not rates or rounded > rates[-1] * 1.04:
            rates.append(float(rounded))
    return tuple(rates)


class _Trials:
    """The trials of one server. ``client_limited``: the clients could not offer the lowest rate that was not answered,
    so the server's knee lies beyond it."""

    def __init__(self, lab: Lab, scenario: Scenario, profile: Profile, server: Server, seed: int) -> None:
        self._lab, self._scenario, self._profile, self._server, self._seed = lab, scenario, profile, server, seed
        self.client_limited = False

    def answered(self, rate: float) -> bool:
        """Whether a trial at that rate was answered."""
        record = self._record(rate)
        if record.verdict is Verdict.CLIENT_LIMITED:
            self.client_limited = True
            return False
        answered = record.replies_per_s >= _ANSWERED * record.sent_per_s
        self.client_limited = self.client_limited and answered
        return answered

    def _record(self, rate: float) -> Record:
        """A busy machine may spoil one trial: it is made once more."""
        try:
            record = self._measured(rate)
        except ProgramError:
            return self._measured(rate)
        if record.verdict is Verdict.INVALID:
            record = self._measured(rate)
        if record.verdict is Verdict.INVALID:
            what = f"a trial of {self._server.label} at {rate:,.0f}/s is invalid"
            raise RunError(f"{what} ({'; '.join(record.reasons)}): give rates_per_s instead of auto")
        return record

    def _measured(self, rate: float) -> Record:
        scenario = self._scenario
        window_s = max(_WINDOW_S, _SESSIONS * scenario.workload.requests_per_connection / rate)
        profile = self._profile.model_copy(update={"rates_per_s": (rate,), "window_s": window_s, "cool_down_s": None})
        point = Point(self._server, rate, max(scenario.idle_counts), 0, bool(scenario.access))
        return record_of(scenario, point, observe(self._lab, scenario, profile, point, self._seed))


def knee_between(answered: Callable[[float], bool], rates: tuple[float, float, float], label: str) -> float:
    """The highest rate found to be answered. ``rates``: the least, the first to try and the last; from the first one
    by doubling, or by halving until one is answered, then by halving the gap. Raises RunError if none is."""
    least, low, last = rates
    if answered(low):
        while low * 2 <= last and answered(low * 2):
            low *= 2
    else:
        low /= 2
        while not answered(low):
            low /= 2
            if low < least:
                raise RunError(f"{label} does not answer {low * 2:,.0f} requests/s: give rates_per_s instead of auto")
    high = low * 2
    for _ in range(_HALVINGS if high <= last else 0):
        middle = (low + high) / 2
        if answered(middle):
            low = middle
        else:
            high = middle
    return low
