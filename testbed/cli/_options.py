"""Options that several verbs share: they are spelt and mean the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from testbed.model.placed import DEFAULT_LAB

lab = click.option(
    "--lab",
    "lab_name",
    default=DEFAULT_LAB,
    metavar="NAME",
    show_default=True,
    help="Which lab; several can stand side by side.",
)
runtime = click.option(
    "--runtime", default="auto", metavar="NAME", show_default=True, help="docker, netns, or auto: docker, else netns."
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout, for machines.")
as_json_lines = click.option(
    "--json", "as_json", is_flag=True, help="One JSON value on stdout for each scenario, a line each, as it ends."
)
topology_file = click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A compose.yaml that describes the world, instead of the default one.",
)
link = click.option(
    "--link",
    default="auto",
    metavar="BACKEND",
    show_default=True,
    help="What shapes links, or auto: for each what can do it.",
)
fast_path = click.option(
    "--fast-path/--no-fast-path",
    "fast",
    default=True,
    help="Lay the fast path between the nodes where it can be had (root on Linux).  [default: on]",
)


def print_json(value: Any) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, indent=2, sort_keys=False))
