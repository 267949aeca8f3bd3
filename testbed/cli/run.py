"""Run scenarios in a lab, print their tables and draw their figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import click

from testbed.analysis.claims import judge_claims
from testbed.cli import _options, _progress
from testbed.cli._claims import print_findings
from testbed.cli._run_progress import RunProgress, duration
from testbed.cli._table import print_run, print_run_json
from testbed.cli.status import describe_paths
from testbed.engine import lab_state
from testbed.engine.lab import Lab, checked_name
from testbed.engine.program_names import check_arrival, check_mechanisms
from testbed.engine.programs import check_current
from testbed.engine.run import profile_of, run
from testbed.engine.scenario_file import changed, load_scenario
from testbed.engine.sweep import estimate_s, points
from testbed.errors import PointsFailed, RunError, TestbedError, UsageError
from testbed.figures.base import FIGURES
from testbed.figures.draw import draw_figures
from testbed.model.record import Verdict
from testbed.model.scenario import Scenario
from testbed.runtime.choose import choose, passed_over
from testbed.store.reading import Run, read_run
from testbed.topology.compose import load_compose


@click.command("run")
@click.argument("files", nargs=-1, required=True, metavar="SCENARIO...", type=click.Path(path_type=Path))
@click.option(
    "--profile", default="quick", show_default=True, metavar="NAME", help="quick, laptop, paper, or the scenario's own."
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a field, e.g. rates_per_s=[1000,2000]."
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**31 - 1),
    help="Order of points, arrivals, sessions.",
)
@click.option(
    "--results", default="results", show_default=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR"
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Go on with the run in this folder.",
)
@click.option("--retry-invalid", is_flag=True, help="With --resume: also run again what is not valid.")
@click.option("--require-valid", is_flag=True, help="End with status 1 if a point is not valid.")
@click.option("--dry-run", is_flag=True, help="Print the points and the time they need, and do nothing.")
@click.option("--build", "build_first", is_flag=True, help="Build images or programs first where they are missing.")
@_options.lab
@_options.runtime
@_options.topology_file
@_options.link
@_options.fast_path
@_options.as_json_lines
def command(
    files: tuple[Path, ...],
    profile: str,
    settings: tuple[str, ...],
    seed: int,
    results: Path,
    resume: Path | None,
    retry_invalid: bool,
    require_valid: bool,
    dry_run: bool,
    build_first: bool,
    lab_name: str,
    runtime: str,
    file: Path | None,
    link: str,
    fast: bool,
    as_json: bool,
) -> None:
    """Run SCENARIOs in the lab that is up, or in one that is brought up for it and taken down again.

    A SCENARIO is a file, or the name of one that comes with testbed (`testbed scenarios`). One that fails is reported,
    and the others get their turn; the exit status is then the worst of theirs.
    """
    scenarios = [changed(load_scenario(path), settings, profile) for path in files]
    for scenario in scenarios:
        _check(scenario, profile, own_world=file is not None)
    if resume is not None and len(scenarios) != 1:
        raise UsageError("--resume goes on with one run: name its scenario alone")
    if retry_invalid and resume is None:
        raise UsageError("--retry-invalid needs --resume RUN")
    if dry_run:
        _print_plans(scenarios, profile, seed)
        return
    if build_first:
        choose(runtime).prepare_programs(_progress.say)
    disbelieved = 0
    failures: dict[str, TestbedError] = {}
    with _lab(lab_name, runtime, file, link, fast, as_json) as lab:
        _progress.say(_world(lab, runtime))
        measure = partial(run, profile=profile, seed=seed, results=results, resume=resume, retry_invalid=retry_invalid)
        for scenario in scenarios:
            progress = RunProgress(scenario.name, estimate_s(scenario, profile_of(scenario, profile), 1))
            try:
                done = measure(scenario, lab, observer=progress)
            except PointsFailed as error:  # what was measured is shown
                failures[scenario.name] = error
                done = read_run(error.folder)
            except TestbedError as error:
                failures[scenario.name] = error
                if len(scenarios) > 1:
                    _progress.say(f"{scenario.name}: FAILED: {error}")
                continue
            disbelieved += _report(done, as_json)
    _complain(failures, len(scenarios))
    if require_valid and disbelieved:
        raise RunError(f"{disbelieved} points are not valid, and --require-valid was given")


def _check(scenario: Scenario, profile: str, own_world: bool) -> None:
    """What can be refused before a lab comes up. In a world of one's own the server may have other mechanisms."""
    profile_of(scenario, profile)
    check_arrival(scenario)
    if not own_world:
        check_mechanisms(scenario)
    for kind in scenario.figures:
        FIGURES.get(kind)


def _complain(failures: Mapping[str, TestbedError], scenarios: int) -> None:
    """Raises what ended the only scenario, or one error for all that failed, with the worst exit status of theirs."""
    if not failures:
        return
    if scenarios == 1:
        raise next(iter(failures.values()))
    told = "; ".join(f"{name}: {error}" for name, error in failures.items())
    whole = RunError(f"{len(failures)} of {scenarios} scenarios failed: {told}")
    whole.exit_code = max(error.exit_code for error in failures.values())
    raise whole


def _world(lab: Lab, asked: str) -> str:
    """One line: what the lab is made with, and what that was chosen instead of."""
    lacks = passed_over(lab.runtime.name) if asked == "auto" else {}
    instead = "".join(f" ({name}: {what})" for name, what in lacks.items())
    return f"runtime: {lab.runtime.name}{instead}; fast path: {describe_paths(lab.paths)}; --link {lab.link}"


def _report(done: Run, as_json: bool) -> int:
    """Draw, judge and print a run; returns how many of its points are not valid."""
    figures = draw_figures(done)
    findings = judge_claims(done)
    if as_json:
        print_run_json(done, [str(path) for path in figures], findings)
    else:
        print_run(done)
        print_findings(findings)
        for path in figures:
            click.echo(f"figure: {path}")
        click.echo()
    return sum(record.verdict is not Verdict.VALID for record in done.latest())


def _print_plans(scenarios: Sequence[Scenario], profile: str, seed: int) -> None:
    """The points of each scenario with their time, and the sum where there are several."""
    count, seconds = 0, 0.0
    for scenario in scenarios:
        chosen = profile_of(scenario, profile)
        if not chosen.rates_per_s:
            click.echo(f"{scenario.name} ({profile}): rates are found when it runs, around each server's knee")
            continue
        ordered = points(scenario, chosen, seed)
        needed_s = estimate_s(scenario, chosen, len(ordered))
        click.echo(f"{scenario.name} ({profile}): {len(ordered)} points, about {duration(needed_s)}")
        for point in ordered:
            click.echo(f"  {point.key}")
        count, seconds = count + len(ordered), seconds + needed_s
    if len(scenarios) > 1:
        click.echo(f"all: {count} points, about {duration(seconds)}")


@contextmanager
def _lab(name: str, runtime: str, file: Path | None, link: str, fast: bool, quiet: bool) -> Iterator[Lab]:
    with lab_state.in_use(checked_name(name)):
        if Lab.stands(name, runtime):
            for option, given in (("--file", file is not None), ("--no-fast-path", not fast)):
                if given:
                    raise UsageError(f"lab {name!r} stands already, as it was brought up: {option} is for a new one")
            lab = Lab.attach(name, runtime, link)
            check_current(lab)
            with lab:
                yield lab
            return
        topology = load_compose(file) if file else None
        with ExitStack() as stack:
            with _progress.steps("up", quiet=quiet) as progress:
                made = Lab(topology, name=name, runtime=runtime, fast=fast, link=link, progress=progress)
                lab = stack.enter_context(made)
            yield lab
