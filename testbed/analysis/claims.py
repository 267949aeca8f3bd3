"""Holds a saved run against claims. Only valid points count; what they cannot decide is said to be undecided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median

from testbed.analysis.basis import Behind, basis
from testbed.analysis.comparable import check_poolable, elsewhere, partners
from testbed.analysis.quantities import field_of, value_of
from testbed.analysis.statistics import CONFIDENCE, Interval, mean_interval, ratio_interval
from testbed.model.claim import At, Claim, Finding, Outcome, Subject, claims_of
from testbed.model.record import Record, Verdict
from testbed.store.reading import Run, find_runs, read_run

OVERLOAD_SHARE = 0.95
"""A server that answers less than this share of what is offered is past its capacity."""

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

    Where a claim names another scenario, its run is looked for in ``others``, then beside the run: of those on the same
    machine and paths the nearest in time. Raises InputError when a run that is needed cannot be read.
    """
    return judge_pooled([run], claims, others)


def judge_pooled(
    runs: Sequence[Run], claims: Sequence[Claim] | None = None, others: Sequence[Run] = ()
) -> tuple[Finding, ...]:
    """Like ``judge_claims`` for several runs of one scenario together; the claims are the last run's own by default.

    Points are paired within each run alone: what differs between runs stands on both sides of every ratio. Of another
    scenario each run has a run of its own. Raises UsageError when the runs did not measure the same.
    """
    check_poolable(runs)
    chosen = saved_claims(runs[-1]) if claims is None else claims
    named = {subject.scenario for claim in chosen for subject in claim.subjects if subject.scenario is not None}
    beside = {}
    for name in named:
        given = [other for other in others if other.manifest.name == name]
        beside[name] = partners(runs, given or _beside(runs[-1], name))
    worlds = [_World(run, {name: found[index] for name, found in beside.items()}) for index, run in enumerate(runs)]
    return tuple(_judged(claim, worlds) for claim in chosen)


@dataclass(frozen=True)
class _World:
    """A run with its runs of other scenarios, None where one is missing."""

    run: Run
    others: Mapping[str, Run | None]


def _beside(run: Run, scenario: str) -> list[Run]:
    """The runs of a scenario beside a run, the newest first."""
    return [read_run(folder) for folder in reversed(find_runs(run.folder.resolve().parents[1], scenario))]


def _judged(claim: Claim, worlds: Sequence[_World]) -> Finding:
    sides_of_runs: list[list[_Points]] = []
    why = ""
    for world in worlds:
        try:
            sides_of_runs.append(_sides(claim, world))
        except _Undecidable as undecidable:
            why = why or str(undecidable)
    behind = _behind(sides_of_runs)
    effects: list[float] = []
    keys: list[_Key] = []
    counted = 0
    for sides in sides_of_runs:
        try:
            found = _effects(claim, sides, behind)
        except _Undecidable as undecidable:
            why = why or str(undecidable)
            continue
        keys += found
        effects += found.values()
        counted += 1
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
        basis=basis(claim, keys, behind, counted, len(worlds)),
        reason=reason,
    )


def _outcome(claim: Claim, interval: Interval) -> Outcome:
    low = float("-inf") if claim.at_least is None else claim.at_least
    high = float("inf") if claim.at_most is None else claim.at_most
    if low <= interval.low and interval.high <= high:
        return Outcome.REPRODUCED
    if interval.high < low or interval.low > high:
        return Outcome.CONTRADICTED
    return Outcome.CANNOT_TELL


def _sides(claim: Claim, world: _World) -> list[_Points]:
    """The valid points of each subject, or each repetition's peaks of them."""
    sides = [_points(subject, world) for subject in claim.subjects]
    return [_peaks(claim, points) for points in sides] if claim.at is At.PEAK else sides


def _points(subject: Subject, world: _World) -> _Points:
    """The subject's valid points. Raises _Undecidable when there are none, or two that cannot be told apart."""
    source = world.run if subject.scenario is None else world.others[subject.scenario]
    if source is None:
        raise _Undecidable(f"there is no run of {subject.scenario} to compare with")
    if differing := elsewhere(world.run, source):
        raise _Undecidable(f"{subject.scenario} ran on another machine or path ({', '.join(differing)})")
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


def _behind(sides_of_runs: Sequence[Sequence[_Points]]) -> Behind:
    """At which rates and populations how many of the sides fell behind, by the median of all repetitions and runs.

    By the median, and for all pairs of a rate alike: were it decided pair by pair, the repetitions in which one server
    happened to keep up would be left out, and every ratio drawn towards 1.
    """
    behind: dict[tuple[float, int], int] = defaultdict(int)
    for side in zip(*sides_of_runs, strict=True):
        shares: dict[tuple[float, int], list[float]] = defaultdict(list)
        for (rate, _, population), record in (item for points in side for item in points.items()):
            shares[rate, population].append(record.replies_per_s / record.offered_per_s)
        for place, found in shares.items():
            behind[place] += median(found) < OVERLOAD_SHARE
    return behind


def _effects(claim: Claim, sides: Sequence[_Points], behind: Behind) -> dict[_Key, float]:
    """The effect once for each pair of points."""
    keys = [key for key in sides[0] if all(key in points for points in sides)]
    if not keys:
        raise _Undecidable("its servers have no valid points at the same rate")
    if claim.at in (At.WITHIN_CAPACITY, At.OVERLOAD):
        beyond = claim.at is At.OVERLOAD
        keys = [key for key in keys if bool(behind[key[0], key[2]]) is beyond]
        if not keys:
            every = "no rate was beyond the capacity of any" if beyond else "no rate was within the capacity of all"
            raise _Undecidable(f"{every} of its servers")
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
