"""Draw the figures of saved runs again, without any engine."""

from __future__ import annotations

from pathlib import Path

import click

from testbed.cli._table import print_run
from testbed.figures.draw import draw_figures
from testbed.store.reading import read_run


@click.command("figures")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Another kind of figure than the scenario's own.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Instead of RUN/figures.")
@click.option("--table", is_flag=True, help="Print the table too.")
def command(runs: tuple[Path, ...], kinds: tuple[str, ...], into: Path | None, table: bool) -> None:
    """Draw the figures of saved runs again: the same results give the same files, byte for byte."""
    for folder in runs:
        run = read_run(folder)
        if table:
            print_run(run)
        for path in draw_figures(run, kinds or None, into):
            click.echo(str(path))
