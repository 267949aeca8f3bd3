"""Hold the load generator against httperf: the same server, the same low rates, side by side."""

from __future__ import annotations

from contextlib import ExitStack

import click

from testbed.cli import _options, _progress
from testbed.engine import lab_state
from testbed.engine.crosscheck import ROUNDS, Comparison, Row, compare, crosscheck
from testbed.engine.lab import Lab, checked_name
from testbed.engine.programs import check_current
from testbed.errors import RunError


@click.command("crosscheck")
@_options.lab
@_options.runtime
@_options.as_json
def command(lab_name: str, runtime: str, as_json: bool) -> None:
    """Drive one server with httperf, with loadgen on kernel TCP and with its own TCP, and compare what they see."""
    with _progress.steps("up", quiet=as_json) as progress, ExitStack() as stack:
        stack.enter_context(lab_state.in_use(checked_name(lab_name)))
        if Lab.stands(lab_name, runtime):
            lab = Lab.attach(lab_name, runtime)
            check_current(lab)
        else:
            lab = Lab(name=lab_name, runtime=runtime, progress=progress)
        with lab:
            rows = crosscheck(lab, lambda row: None if as_json else _print(row))
    found = compare(rows)
    if as_json:
        data = [{**each.model_dump(mode="json"), "agrees": each.agrees} for each in found]
        _options.print_json({"rows": [row.model_dump(mode="json") for row in rows], "comparisons": data})
    else:
        click.echo(f"against httperf, the least disturbed of {ROUNDS} rounds:")
        for each in found:
            click.echo(f"  {_load(each)} {each.tool:23} {_told(each)}")
    differing = sum(not each.agrees for each in found)
    if differing:
        raise RunError(f"{differing} of {len(found)} comparisons with httperf differ without a measured cause")


def _load(what: Row | Comparison) -> str:
    return f"{what.workload} at {what.rate_per_s:g}/s".ljust(36)


def _told(comparison: Comparison) -> str:
    """One line: counts, response time, and what explains its difference."""
    counts = f"DIFFERENT: {comparison.counts}" if comparison.counts else "counts equal"
    times = f"response {comparison.ratio:.2f} × ({comparison.difference_ms:+.3f} ms)"
    if comparison.close:
        return f"{counts}, {times}"
    seen = f"by the packets: server {comparison.server_ms:+.3f}, client {comparison.client_ms:+.3f}"
    left = f"{comparison.beyond_ms:+.3f} left of {comparison.allowed_ms:.3f} allowed"
    return f"{counts}, {times}, {'explained' if comparison.explained else 'NOT explained'} {seen}, {left}"


def _print(row: Row) -> None:
    errors = ", ".join(f"{count} {name}" for name, count in row.errors.model_dump().items() if count) or "none"
    counts = f"connections {row.connections:5}  replies {row.replies:5}  errors {errors}"
    times = f"response {row.response_ms:.3f} ms (packets: server {row.server_ms:.3f}, client {row.client_ms:.3f})"
    click.echo(f"{_load(row)} {row.tool:23} {counts}  {times}  own CPU {row.cpu_share:.0%}")
