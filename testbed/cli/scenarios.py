"""List scenario files: what each shows, its points and its time."""

from __future__ import annotations

from pathlib import Path

import click

from testbed.cli import _options
from testbed.cli._run_progress import duration
from testbed.engine.run import profile_of
from testbed.engine.scenario_file import load_scenario
from testbed.engine.sweep import estimate_s, points
from testbed.errors import UsageError


@click.command("scenarios")
@click.argument("folder", default="scenarios", type=click.Path(path_type=Path))
@click.option("--profile", default="quick", show_default=True, metavar="NAME", help="The profile to count.")
@_options.as_json
def command(folder: Path, profile: str, as_json: bool) -> None:
    """List the scenarios in FOLDER (default: scenarios) with their sentence, points and time."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of scenarios")
    rows = []
    for path in sorted(folder.glob("*.py")):
        scenario = load_scenario(path)
        chosen = profile_of(scenario, profile)
        count = len(points(scenario, chosen, seed=1))
        seconds = estimate_s(scenario, chosen, count)
        rows.append({"file": str(path), "sentence": scenario.sentence, "points": count, "seconds": round(seconds)})
    if as_json:
        _options.print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['file']}  {row['points']} points, about {duration(float(str(row['seconds'])))}")
        click.echo(f"  {row['sentence']}")
    seconds = sum(float(str(row["seconds"])) for row in rows)
    click.echo(f"all  {sum(int(str(row['points'])) for row in rows)} points, about {duration(seconds)}")
