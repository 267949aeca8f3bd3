"""Build the images of the nodes; the base image too, where no registry can be reached."""

from __future__ import annotations

import click

from testbed.cli import _progress
from testbed.runtime.docker_images import build


@click.command("build")
def command() -> None:
    """Build the images of the nodes. What has not changed is not built again."""
    build(_progress.say)
    click.echo("images are built")
