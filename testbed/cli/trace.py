"""Write a workload's sessions as an httperf wsesslog trace, or check a trace."""

from __future__ import annotations

from pathlib import Path

import click

from testbed.engine.scenario_file import changed, load_scenario
from testbed.errors import InputError, UsageError
from testbed.workload.trace import TRACE_FILE, mean_requests, read_trace

_CLIENTS = 8
"""Of the default world: what each of them asks for may depend on how many there are."""


@click.group("trace")
def command() -> None:
    """Traces of sessions in httperf's wsesslog form."""


@command.command("write")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--scenario", default="figure_2", show_default=True, help="Whose workload: a file or a shipped name.")
@click.option("--profile", default="quick", show_default=True, metavar="NAME", help="As the run has it.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="As for run, e.g. workload.directories=20, workload.sessions_per_client=100.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option(
    "--client",
    default=0,
    show_default=True,
    type=click.IntRange(0, _CLIENTS - 1),
    metavar="N",
    help="Which client's sessions.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def write(
    file: Path, scenario: str, profile: str, settings: tuple[str, ...], seed: int, client: int, force: bool
) -> None:
    """Write the sessions of a scenario's workload to FILE; the same options give the same file, byte for byte."""
    if file.exists() and not force:
        raise UsageError(f"{file}: exists; give --force to overwrite it")
    workload = changed(load_scenario(scenario), settings, profile).workload
    files = workload.client_files(client, _CLIENTS, seed)
    if TRACE_FILE not in files:
        raise UsageError(f"{scenario}: its workload, {workload.name}, has no sessions that a trace could hold")
    try:
        file.write_bytes(files[TRACE_FILE])
    except OSError as error:
        raise InputError(str(file), f"cannot be written: {error.strerror}") from None


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, dir_okay=False))
def check(files: tuple[Path, ...]) -> None:
    """Check each FILE; the first broken line is named with what is allowed."""
    for file in files:
        sessions = read_trace(file)
        bursts = sum(len(session) for session in sessions)
        click.echo(
            f"{file}: {len(sessions)} sessions, {bursts} bursts, {mean_requests(sessions):.2f} requests a session"
        )
