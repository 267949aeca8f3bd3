"""Show what the programs of a node wrote on stderr."""

from __future__ import annotations

import click

from testbed.cli import _options
from testbed.engine.lab import Lab


@click.command("logs")
@_options.lab
@_options.runtime
@click.argument("node")
def command(lab_name: str, runtime: str, node: str) -> None:
    """Show what programs wrote on stderr that testbed started in NODE."""
    click.echo(Lab.attach(lab_name, runtime).logs(node), nl=False)
