"""Hold saved runs against the paper's claims: effect, interval and verdict of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from testbed.analysis.claims import judge_pooled
from testbed.cli import _options
from testbed.cli._claims import print_findings
from testbed.engine.scenario_file import load_scenario
from testbed.errors import InputError, RunError
from testbed.model.claim import Finding, Outcome
from testbed.store.reading import Run, has_points, read_run
from testbed.store.writing import MANIFEST_FILE


@click.command("verify")
@click.argument("results", nargs=-1, required=True, metavar="RESULTS...", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="End with status 1 for what cannot be told, too.")
@click.option(
    "--pool",
    is_flag=True,
    help="Judge all runs of a scenario that measured the same together (of folders of folders: not the newest alone).",
)
@click.option(
    "--scenario",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge runs of this scenario by the claims that its file has now, not by those saved with the run.",
)
@_options.as_json
def command(results: tuple[Path, ...], strict: bool, pool: bool, files: tuple[Path, ...], as_json: bool) -> None:
    """Judge the claims of saved runs. RESULTS are folders of runs, or folders of such folders: the newest run of each
    scenario in them is taken. Only valid points count. Status 1 if a claim is contradicted."""
    runs = [run for path in results for run in _runs_in(path, every=pool)]
    claims = {scenario.name: scenario.claims for scenario in map(load_scenario, files)}
    absent = sorted(set(claims) - {run.manifest.name for run in runs})
    if absent:
        raise InputError("--scenario", f"there is no run of {absent[0]} among the results")
    groups = _by_scenario(runs) if pool else [[run] for run in runs]
    found = [(group, judge_pooled(group, claims.get(group[0].manifest.name), runs)) for group in groups]
    if as_json:
        _options.print_json([_plain(group, findings) for group, findings in found])
    else:
        _print(found)
    _complain([finding for _, findings in found for finding in findings], strict)


def _runs_in(path: Path, every: bool) -> list[Run]:
    if (path / MANIFEST_FILE).exists():
        return [read_run(path)]
    manifests = {manifest for depth in ("*", "*/*") for manifest in path.glob(f"{depth}/{MANIFEST_FILE}")}
    folders = sorted(manifest.parent for manifest in manifests if has_points(manifest.parent))
    if not folders:
        raise InputError(str(path), "holds no run that has a point" if manifests else "holds no run")
    newest = {folder.parent: folder for folder in folders}  # names begin with the time
    return [read_run(folder) for folder in (folders if every else newest.values())]


def _by_scenario(runs: Sequence[Run]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.manifest.name, []).append(run)
    return list(groups.values())


def _print(found: Sequence[tuple[Sequence[Run], Sequence[Finding]]]) -> None:
    for group, findings in found:
        click.echo(f"{group[-1].manifest.title}  [{', '.join(str(run.folder) for run in group)}]")
        if not findings:
            click.echo("no claims were saved with this run: give its file with --scenario")
        print_findings(findings)
        click.echo()


def _plain(group: Sequence[Run], findings: Sequence[Finding]) -> dict[str, object]:
    folders = [str(run.folder) for run in group]
    return {"folders": folders, "claims": [finding.model_dump(mode="json") for finding in findings]}


def _complain(findings: Sequence[Finding], strict: bool) -> None:
    """Raises RunError when a claim is contradicted, or with ``strict`` when one cannot be told."""
    contradicted = [_name(finding) for finding in findings if finding.outcome is Outcome.CONTRADICTED]
    untold = [_name(finding) for finding in findings if finding.outcome is Outcome.CANNOT_TELL]
    if contradicted:
        raise RunError(f"{len(contradicted)} of {len(findings)} claims are contradicted: {', '.join(contradicted)}")
    if strict and untold:
        raise RunError(f"{len(untold)} of {len(findings)} claims cannot be told: {', '.join(untold)}")


def _name(finding: Finding) -> str:
    return finding.claim.name
