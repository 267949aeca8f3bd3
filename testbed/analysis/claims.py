"""Holds a saved run against claims. Only valid points count; what they cannot decide is said to be undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from testbed.analysis.quantities import field_of, value_of
from testbed.analysis.statistics import CONFIDENCE, Interval, mean_interval, ratio_interval
from testbed.model.claim import At, Claim, Finding, Outcome, Subject, claims_of
from testbed.model.record import Record, Verdict
from testbed.store.reading import Run, find_runs, read_run

OVERLOAD_SHARE = 0.95
"""A server that answers less than this share of what is offered is past its capacity."""

_SAME_HOST = ("cpu_model", "cpus", "kernel")
"""Facts of the manifest in which two runs must agree to be compared."""

_Key = tuple[float, int, int]
"""What pairs two points: offered rate, repetition, and the rank of the idle population among the subject's own at that
rate."""

_Points = dict[_Key, Record]


class _Undecidable(Exception):
    """Why a claim cannot be told. It does not leave this file."""


def saved_claims(run: Run) -> tuple[Claim, ...]:
    """The claims of the scenario as it was when it ran. Raises InputError when they cannot be read."""
    return claims_of(run.manifest.scenario, str(run.folder / "manifest.json"))


def judge_claims(run: Run, claims: Sequence[Claim] | None = None, others: Sequence[Run] = ()) -> tuple[Finding, ...]:
    """One finding a claim: the run's own claims, or the given ones.

    Where a claim names another scenario, its run is looked for in ``others``, then beside the run (the newest).
    Raises InputError when a run that is needed cannot be read.
    """
    return judge_pooled([run], claims, others)


def judge_pooled(
    runs: Sequence[Run], claims: Sequence[Claim] | None = None, others: Sequence[Run] = ()
) -> tuple[Finding, ...]:
    """Like ``judge_claims`` for several runs of one scenario together; the claims are the last run's own by default.

    Points are paired within each run alone: what differs between runs stands on both sides of every ratio.
    """
    chosen = saved_claims(runs[-1]) if claims is None else claims
    named = {subject.scenario for claim in chosen for subject in claim.subjects if subject.scenario is not None}
    known = {other.manifest.name: other for other in others}
    beside = {name: known.get(name) or _newest_beside(runs[-1], name) for name in named}
    return tuple(_judged(claim, runs, beside) for claim in chosen)


def _newest_beside(run: Run, scenario: str) -> Run | None:
    folders = find_runs(run.folder.resolve().parents[1], scenario)
    return read_run(folders[-1]) if folders else None


def _judged(claim: Claim, runs: Sequence[Run], beside: Mapping[str, Run | None]) -> Finding:
    effects: list[float] = []
    keys: list[_Key] = []
    why = ""
    for run in runs:
        try:
            found = _effects(claim, [_points(subject, run, beside) for subject in claim.subjects])
        except _Undecidable as undecidable:
            why = why or str(undecidable)
            continue
        keys += found
        effects += found.values()
    if not effects:
        return Finding(claim=claim, outcome=Outcome.CANNOT_TELL, confidence=CONFIDENCE, reason=why)
    interval = ratio_interval(effects) if claim.under else mean_interval(effects)
    outcome = _outcome(claim, interval) if len(effects) > 1 else Outcome.CANNOT_TELL
    reason = ""
    if len(effects) == 1:
        reason = "one pair has no interval: more rates or repetitions are needed"
    elif outcome is Outcome.CANNOT_TELL:
        reason = "the interval reaches across a bound"
    return Finding(
        claim=claim,
        outcome=outcome,
        effect=interval.estimate,
        low=interval.low if len(effects) > 1 else None,
        high=interval.high if len(effects) > 1 else None,
        confidence=CONFIDENCE,
        basis=_basis(claim, keys, len(runs), beside),
        reason=reason,
    )


def _basis(claim: Claim, keys: Sequence[_Key], runs: int, beside: Mapping[str, Run | None]) -> str:
    text = _counted(claim, keys)
    if runs > 1:
        text += f", {runs} runs"
    if any(_names(claim, name) for name in beside):
        text += " of each scenario, without the drift between their runs"
    return text


def _names(claim: Claim, scenario: str) -> bool:
    return any(subject.scenario == scenario for subject in claim.subjects)


def _outcome(claim: Claim, interval: Interval) -> Outcome:
    low = float("-inf") if claim.at_least is None else claim.at_least
    high = float("inf") if claim.at_most is None else claim.at_most
    if low <= interval.low and interval.high <= high:
        return Outcome.REPRODUCED
    if interval.high < low or interval.low > high:
        return Outcome.CONTRADICTED
    return Outcome.CANNOT_TELL


def _points(subject: Subject, run: Run, runs: Mapping[str, Run | None]) -> _Points:
    """The subject's valid points. Raises _Undecidable when there are none, or two that cannot be told apart."""
    source = run if subject.scenario is None else runs[subject.scenario]
    if source is None:
        raise _Undecidable(f"there is no run of {subject.scenario} to compare with")
    differing = [fact for fact in _SAME_HOST if source.manifest.host.get(fact) != run.manifest.host.get(fact)]
    if differing:
        raise _Undecidable(f"{subject.scenario} ran on another machine ({', '.join(differing)})")
    own = [record for record in source.latest() if _is_of(record, subject)]
    points: _Points = {}
    for record in own:
        rate = record.offered_per_s  # stand-ins for slow connections are as many as the rate has them
        populations = sorted({each.idle_connections for each in own if each.offered_per_s == rate})
        key = (rate, record.repetition, populations.index(record.idle_connections))
        if key in points:
            raise _Undecidable(f"{subject} has several points at one rate: the claim must say which (where)")
        points[key] = record
    valid = {key: record for key, record in points.items() if record.verdict is Verdict.VALID}
    if not valid:
        raise _Undecidable(f"no {'valid ' if own else ''}points of {subject}")
    return valid


def _is_of(record: Record, subject: Subject) -> bool:
    if record.label != subject.server or subject.idle_connections not in (None, record.idle_connections):
        return False
    return all(field_of(record, name) == value for name, value in subject.where.items())


def _effects(claim: Claim, sides: Sequence[_Points]) -> dict[_Key, float]:
    """The effect once for each pair of points."""
    if claim.at is At.PEAK:
        sides = [_peaks(claim, points) for points in sides]
    keys = [key for key in sides[0] if all(key in points for points in sides)]
    if not keys:
        raise _Undecidable("its servers have no valid points at the same rate")
    if claim.at in (At.WITHIN_CAPACITY, At.OVERLOAD):
        beyond = claim.at is At.OVERLOAD
        keys = [key for key in keys if all(_overloaded(points[key]) is beyond for points in sides)]
        if not keys:
            raise _Undecidable(f"no rate was {'beyond' if beyond else 'within'} the capacity of all its servers")
    return {key: _effect(claim, [points[key] for points in sides]) for key in sorted(keys)}


def _effect(claim: Claim, records: Sequence[Record]) -> float:
    values = [value_of(record, claim.quantity) for record in records]
    for value, subject in zip(values, claim.subjects, strict=True):
        if value is None:
            raise _Undecidable(f"points of {subject} have no {claim.quantity.name}")
        if claim.under and value <= 0:
            raise _Undecidable(f"{claim.quantity.name} of {subject} is {value:g}: there is no ratio")
    known = [value for value in values if value is not None]
    over, under = known[: len(claim.over)], known[len(claim.over) :]
    return prod(over) / prod(under)


def _peaks(claim: Claim, points: _Points) -> _Points:
    """For each repetition and population the point with the most of the quantity, at whatever rate."""
    best: _Points = {}
    for (_, repetition, population), record in sorted(points.items()):
        key = (0.0, repetition, population)
        if key not in best or (value_of(record, claim.quantity) or 0) > (value_of(best[key], claim.quantity) or 0):
            best[key] = record
    return best


def _overloaded(record: Record) -> bool:
    return record.replies_per_s < OVERLOAD_SHARE * record.offered_per_s


def _counted(claim: Claim, keys: Sequence[_Key]) -> str:
    rates, repetitions, populations = (len(set(each)) for each in zip(*keys, strict=True))
    parts = [] if claim.at is At.PEAK else [_plural(rates, "rate")]
    parts += [_plural(populations, "idle population")] if populations > 1 else []
    parts += [_plural(repetitions, "repetition")] if repetitions > 1 or not parts else []
    return f"{_plural(len(keys), 'pair' if claim.under else 'point')}: {', '.join(parts)}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
