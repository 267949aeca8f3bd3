"""Build what the nodes run: images, the base image too where no registry can be reached; without an engine programs."""

from __future__ import annotations

import click

from testbed.cli import _options, _progress
from testbed.runtime.choose import choose


@click.command("build")
@_options.runtime
def command(runtime: str) -> None:
    """Build what the nodes run: on docker their images, on netns the programs alone.

    What has not changed is not built again.
    """
    chosen = choose(runtime)
    chosen.prepare_programs(_progress.say)
    click.echo(f"all is built ({chosen.name})")
