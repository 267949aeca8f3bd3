"""Bring a lab up and leave it standing."""

from __future__ import annotations

import time
from pathlib import Path

import click

from testbed.cli import _options, _progress
from testbed.cli.status import lab_data, print_lab
from testbed.engine.lab import Lab
from testbed.topology.compose import load_compose


@click.command("up")
@_options.lab
@_options.runtime
@_options.topology_file
@_options.link
@_options.fast_path
@_options.as_json
def command(lab_name: str, runtime: str, file: Path | None, link: str, fast: bool, as_json: bool) -> None:
    """Bring a lab up and leave it standing.

    On any failure, and on Ctrl-C, everything made so far is removed.
    """
    topology = load_compose(file) if file else None
    began = time.monotonic()
    with _progress.steps("up", quiet=as_json) as progress:
        lab = Lab(topology, name=lab_name, runtime=runtime, fast=fast, link=link, progress=progress)
        lab.up()
    if as_json:
        _options.print_json(lab_data(lab))
    else:
        print_lab(lab)
        click.echo(f"up in {time.monotonic() - began:.1f} s")
