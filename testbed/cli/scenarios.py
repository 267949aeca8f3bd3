"""List scenario files: what each shows, its points and its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from testbed.cli import _options
from testbed.cli._run_progress import duration
from testbed.engine.run import profile_of
from testbed.engine.scenario_file import load_scenario
from testbed.engine.sweep import estimate_s, points
from testbed.errors import UsageError
from testbed.project import scenarios_folder


@click.command("scenarios")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--profile", default="quick", show_default=True, metavar="NAME", help="The profile to count.")
@_options.as_json
def command(folder: Path | None, profile: str, as_json: bool) -> None:
    """List the scenarios in FOLDER and the folders in it, with their sentence, points and time.

    Without FOLDER: those that come with testbed, by the names that `testbed run` knows."""
    within = folder or scenarios_folder()
    if not within.is_dir():
        raise UsageError(f"{within}: no such folder of scenarios")
    groups = [_group(part, profile) for part in (within, *sorted(path for path in within.iterdir() if path.is_dir()))]
    if as_json:
        _options.print_json([row for rows in groups for row in rows])
        return
    for rows in filter(None, groups):
        for row in rows:
            _print(row["file"] if folder else row["name"], row)
            click.echo(f"  {row['sentence']}")
        total = {key: sum(row[key] for row in rows) for key in ("points", "seconds")}
        _print(f"all of {Path(rows[0]['file']).parent.name}", total)


def _group(folder: Path, profile: str) -> list[dict[str, Any]]:
    """A row for each scenario that lies in the folder itself."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        scenario = load_scenario(path)
        chosen = profile_of(scenario, profile)
        count = len(points(scenario, chosen, seed=1))
        row = {"name": path.stem, "file": str(path), "sentence": scenario.sentence}
        rows.append({**row, "points": count, "seconds": round(estimate_s(scenario, chosen, count))})
    return rows


def _print(what: str, row: dict[str, Any]) -> None:
    click.echo(f"{what}  {row['points']} points, about {duration(float(row['seconds']))}")
