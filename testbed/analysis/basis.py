"""What the interval of a finding is made from, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.model.claim import REPLIES, At, Claim

Behind = Mapping[tuple[float, int], int]
"""How many sides of a claim fell behind at an offered rate and idle population (by its rank)."""


def basis(claim: Claim, keys: Sequence[tuple[float, int, int]], behind: Behind, counted: int, runs: int) -> str:
    """How many pairs (offered rate, repetition, rank of the idle population), of which runs, and where a server still
    kept up at overload. ``counted`` of the ``runs`` had such pairs."""
    parts = [_pairs(claim, keys)]
    if runs > 1:
        parts.append(f"{runs} runs" if counted == runs else f"{counted} of {runs} runs")
    others = sorted({subject.scenario for subject in claim.subjects if subject.scenario is not None})
    if others:
        one = "each with one of" if runs > 1 else "with one run of"
        parts.append(f"{one} {' and '.join(others)}, without the drift between the two")
    return ", ".join(parts) + _kept_up(claim, keys, behind)


def _pairs(claim: Claim, keys: Sequence[tuple[float, int, int]]) -> str:
    rates, repetitions, populations = (len(set(each)) for each in zip(*keys, strict=True))
    parts = [] if claim.at is At.PEAK else [_plural(rates, "rate")]
    parts += [_plural(populations, "idle population")] if populations > 1 else []
    parts += [_plural(repetitions, "repetition")] if repetitions > 1 or not parts else []
    return f"{_plural(len(keys), 'pair' if claim.under else 'point')}: {', '.join(parts)}"


def _kept_up(claim: Claim, keys: Sequence[tuple[float, int, int]], behind: Behind) -> str:
    """A server that keeps up could do more: a ratio of replies then says of the capacities how far apart at least."""
    if claim.at is not At.OVERLOAD:
        return ""
    rates = sorted({rate for rate, _, population in keys if behind[rate, population] < len(claim.subjects)})
    if not rates:
        return ""
    text = f"; not all fell behind at {', '.join(f'{rate:,.0f}' for rate in rates)}/s"
    bound = claim.quantity == REPLIES and len(claim.subjects) == 2
    return text + (": there the capacities are at least so far apart" if bound else "")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
