"""Hold the load generator against httperf: the same server, the same low rates, side by side."""

from __future__ import annotations

import click

from testbed.cli import _options, _progress
from testbed.engine.crosscheck import RATES_PER_S, Row, crosscheck, differences
from testbed.engine.lab import Lab


@click.command("crosscheck")
@_options.lab
@_options.runtime
@_options.as_json
def command(lab_name: str, runtime: str, as_json: bool) -> None:
    """Drive one server with httperf, with loadgen on kernel TCP and with its own TCP, and compare what they see."""
    with _progress.steps("up", quiet=as_json) as progress:
        standing = Lab.stands(lab_name, runtime)
        lab = Lab.attach(lab_name, runtime) if standing else Lab(name=lab_name, runtime=runtime, progress=progress)
        with lab:
            rows = crosscheck(lab, lambda row: None if as_json else _print(row))
    found = differences(rows)
    if as_json:
        _options.print_json({"rows": [row.model_dump(mode="json") for row in rows], "differences": found})
        return
    click.echo(
        f"rates {', '.join(map(str, RATES_PER_S))} requests/s; counts and response times agree"
        if not found
        else "differences:"
    )
    for line in found:
        click.echo(f"  {line}")


def _print(row: Row) -> None:
    errors = ", ".join(f"{count} {name}" for name, count in row.errors.model_dump().items() if count) or "none"
    load = f"{row.workload} at {row.rate_per_s:g}/s"
    counts = f"connections {row.connections:5}  replies {row.replies:5}  errors {errors}"
    click.echo(f"{load:36} {row.tool:23} {counts}  response {row.response_ms:.3f} ms  own CPU {row.cpu_share:.0%}")
