"""Write a workload's sessions as an httperf wsesslog trace, or check a trace."""

from __future__ import annotations

from pathlib import Path

import click

from testbed.errors import InputError, UsageError
from testbed.workload.specweb99 import SpecWeb99
from testbed.workload.trace import format_trace, mean_requests, read_trace


@click.group("trace")
def command() -> None:
    """Traces of sessions in httperf's wsesslog form."""


@command.command("write")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--directories", default=8, show_default=True, metavar="N", help="SPECweb99 directories to draw from.")
@click.option("--sessions", default=2_000, show_default=True, metavar="N", help="Sessions to draw.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31 - 1))
@click.option(
    "--client", default=0, show_default=True, type=click.IntRange(0), metavar="N", help="Which client's draws."
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def write(file: Path, directories: int, sessions: int, seed: int, client: int, force: bool) -> None:
    """Write SPECweb99-like sessions to FILE; the same options give the same file, byte for byte."""
    if file.exists() and not force:
        raise UsageError(f"{file}: exists; give --force to overwrite it")
    workload = SpecWeb99.checked("trace write", {"directories": directories, "sessions_per_client": sessions})
    try:
        file.write_text(format_trace(workload.sessions(client, seed)), encoding="utf-8")
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
