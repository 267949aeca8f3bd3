"""What a run says of its claims: each sentence once, and below it a line for each number that it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import click

from testbed.model.claim import At, Finding, Outcome

_COLOURS = {Outcome.REPRODUCED: "green", Outcome.CONTRADICTED: "red", Outcome.CANNOT_TELL: "yellow"}
_WHERE = {
    At.EVERY: "",
    At.WITHIN_CAPACITY: " within capacity",
    At.OVERLOAD: " at overload",
    At.PEAK: " at its peak",
}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print them on stdout, in the order of the scenario."""
    for (sentence, source), group in groupby(findings, lambda found: (found.claim.sentence, found.claim.source)):
        click.echo(f"{sentence} ({source})")
        for finding in group:
            outcome = click.style(f"{finding.outcome.value:<12}", fg=_COLOURS[finding.outcome])
            click.echo(f"  {outcome}  {_measured(finding)}")


def _measured(finding: Finding) -> str:
    """What was measured, between which bounds it should lie, what it is made from, why it is not enough."""
    claim = finding.claim
    effect = ""
    if finding.effect is not None:
        interval = "" if finding.low is None or finding.high is None else f" ({finding.low:.3g} to {finding.high:.3g})"
        effect = f" = {finding.effect:.3g}{interval}"
    made_of = [text for text in (finding.basis, finding.reason) if text]
    where = _WHERE[claim.at]
    if claim.at is At.OVERLOAD and len(claim.subjects) > 1:
        where += " of at least one"
    return f"{_sides(finding)}, {claim.quantity.name}{where}{effect}, claimed {claim.bounds} [{'; '.join(made_of)}]"


def _sides(finding: Finding) -> str:
    over, under = (" × ".join(map(str, side)) for side in (finding.claim.over, finding.claim.under))
    return f"{over} ÷ {under}" if under else over
