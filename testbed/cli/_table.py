"""A run as a table: one row a rate, one column a server, with a mark and a note for what is not valid."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

import click
from rich.console import Console
from rich.table import Table

from testbed.model.claim import Finding
from testbed.model.record import Record, Verdict
from testbed.store.reading import Run

_RATE_WIDTH, _SERVER_WIDTH = 40, 40
"""Columns of a table that goes to a file: enough that no heading is cut."""

_MARKS = {Verdict.VALID: "", Verdict.SUSPECT: " ?", Verdict.CLIENT_LIMITED: " <", Verdict.INVALID: " !"}
"""Behind a number: suspect, client-limited (the server might do more), invalid."""


def print_run(run: Run) -> None:
    """The table on stdout, then one line for each point that is not valid."""
    records = run.latest()
    cells: dict[tuple[float, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[record.offered_per_s, record.label].append(record)
    table = Table(title=run.manifest.title, title_justify="left", box=None, pad_edge=False)
    table.add_column("offered/s", justify="right")
    for label in run.manifest.labels:
        table.add_column(f"{label}\nreplies/s", justify="right")
        table.add_column("\nCPU µs/reply", justify="right")
    for rate in sorted({record.offered_per_s for record in records}):
        row = [f"{rate:,.0f}"]
        for label in run.manifest.labels:
            row += _cell(cells[rate, label])
        table.add_row(*row)
    wide = _RATE_WIDTH + _SERVER_WIDTH * len(run.manifest.labels)
    console = Console(highlight=False, width=None if Console().is_terminal else wide)
    console.print(table)
    for record in sorted(records, key=lambda r: (r.offered_per_s, r.label, r.repetition)):
        if record.verdict is not Verdict.VALID:
            click.echo(
                f"{_MARKS[record.verdict].strip()} {record.point}: {record.verdict.value}: {'; '.join(record.reasons)}"
            )
    if not run.manifest.paths.get("switched", True):
        click.echo(f"note: measured without the fast path ({run.manifest.paths['reason'] or 'not asked for'})")


def _cell(records: list[Record]) -> list[str]:
    if not records:
        return ["–", "–"]
    worst = max((record.verdict for record in records), key=list(_MARKS).index)
    costs = [r.server_cpu_us_per_reply for r in records if r.server_cpu_us_per_reply is not None]
    return [
        f"{mean(record.replies_per_s for record in records):,.0f}{_MARKS[worst]}",
        f"{mean(costs):.1f}" if costs else "–",
    ]


def print_run_json(run: Run, figures: list[str], findings: Sequence[Finding]) -> None:
    """One JSON line: where the run is, its points without their raw lines, and what it says of the claims."""
    points = [record.model_dump(mode="json", exclude={"raw"}) for record in run.latest()]
    claims = [finding.model_dump(mode="json") for finding in findings]
    click.echo(json.dumps({"folder": str(run.folder), "figures": figures, "points": points, "claims": claims}))
