"""A run as a table: one row a rate and what stood beside, one column a server, with a mark for what is not valid. Many
servers have a row each instead."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

import click
from rich.console import Console
from rich.table import Table

from testbed.analysis.shares import calls_in_order, profiles_by_label
from testbed.cli.status import describe_paths
from testbed.model.claim import Finding
from testbed.model.record import Record, Verdict
from testbed.runtime.base import Paths
from testbed.store.reading import Run

_RATE_WIDTH, _SERVER_WIDTH = 60, 40
"""Columns of a table that goes to a file: enough that no heading is cut."""

_MOST_COLUMNS = 8
"""Servers beside each other, about what a wide terminal holds."""

_MARKS = {Verdict.VALID: "", Verdict.SUSPECT: " ?", Verdict.CLIENT_LIMITED: " <", Verdict.INVALID: " !"}
"""Behind a number: suspect, client-limited (the server might do more), invalid."""

_Row = tuple[float, bool, int]
"""What the points of one row have in common: offered rate, access links or not, idle connections."""


def print_run(run: Run) -> None:
    """The table on stdout, the shares of CPU time where they were measured, then one line for each point that is not
    valid, and one each on whether CPUs slept and how the frames went."""
    records = run.latest()
    _print(_rates(run, records), len(run.manifest.labels))
    if any(record.server.get("profile") for record in records):
        click.echo()
        _print(_shares(run), len(run.manifest.labels))
    for record in sorted(records, key=lambda r: (*_row(r), r.label, r.repetition)):
        if record.verdict is not Verdict.VALID:
            click.echo(
                f"{_MARKS[record.verdict].strip()} {record.point}: {record.verdict.value}: {'; '.join(record.reasons)}"
            )
    if "idle_states" in run.manifest.host:
        click.echo(f"idle states: {run.manifest.host['idle_states']}")
    click.echo(f"fast path: {describe_paths(Paths(**run.manifest.paths))}")


def _row(record: Record) -> _Row:
    return record.offered_per_s, bool(record.access), record.idle_connections


def _rates(run: Run, records: Sequence[Record]) -> Table:
    cells: dict[tuple[_Row, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[_row(record), record.label].append(record)
    rows = sorted({_row(record) for record in records})
    columns = [("idle", len({idle for _, _, idle in rows}) > 1), ("access links", len({row[1] for row in rows}) > 1)]
    table = _table(run.manifest.title)
    table.add_column("offered/s", justify="right")
    for name, wanted in columns:
        if wanted:
            table.add_column(name, justify="right")
    labels = run.manifest.labels
    if of_their_own := len(labels) > _MOST_COLUMNS:
        table.add_column("server")
    for heading in ("",) if of_their_own else labels:
        table.add_column(f"{heading}\nreplies/s", justify="right")
        table.add_column("\nCPU µs/reply", justify="right")
    for row in rows:
        rate, access, idle = row
        beside = [
            text for text, (_, wanted) in zip((f"{idle:,}", "yes" if access else "–"), columns, strict=True) if wanted
        ]
        cells_of = {label: _cell(cells[row, label]) for label in labels}
        if of_their_own:
            for label, values in cells_of.items():
                table.add_row(f"{rate:,.0f}", *beside, label, *values)
        else:
            table.add_row(f"{rate:,.0f}", *beside, *(value for values in cells_of.values() for value in values))
    return table


def _cell(records: list[Record]) -> list[str]:
    if not records:
        return ["–", "–"]
    worst = max((record.verdict for record in records), key=list(_MARKS).index)
    costs = [r.server_cpu_us_per_reply for r in records if r.server_cpu_us_per_reply is not None]
    return [
        f"{mean(record.replies_per_s for record in records):,.0f}{_MARKS[worst]}",
        f"{mean(costs):.1f}" if costs else "–",
    ]


def _shares(run: Run) -> Table:
    profiles = profiles_by_label(run)
    table = _table("per cent of the server's CPU time, mean over its points")
    table.add_column("")
    for label, profile in profiles.items():
        table.add_column(f"{label}\n{profile.note}".strip(), justify="right")
    for call in calls_in_order(profiles.values()):
        values = [profile.shares.get(call) for profile in profiles.values()]
        table.add_row(call, *("–" if value is None else f"{value:.1f}" for value in values))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=None, pad_edge=False)


def _print(table: Table, servers: int) -> None:
    wide = _RATE_WIDTH + _SERVER_WIDTH * servers
    Console(highlight=False, width=None if Console().is_terminal else wide).print(table)


def print_run_json(run: Run, figures: list[str], findings: Sequence[Finding]) -> None:
    """One JSON line: where the run is, how its frames went, its points without their raw lines, and what it says of
    the claims."""
    points = [record.model_dump(mode="json", exclude={"raw"}) for record in run.latest()]
    claims = [finding.model_dump(mode="json") for finding in findings]
    data = {"folder": str(run.folder), "paths": run.manifest.paths, "figures": figures}
    click.echo(json.dumps({**data, "points": points, "claims": claims}))
