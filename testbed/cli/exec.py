"""Run a command in a node."""

from __future__ import annotations

import sys

import click

from testbed.cli import _options
from testbed.engine.lab import Lab


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_options.lab
@_options.runtime
@click.option(
    "--timeout",
    "timeout_s",
    default=30.0,
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    show_default=True,
    help="Kill it after so long.",
)
@click.argument("node")
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...")
def command(lab_name: str, runtime: str, timeout_s: float, node: str, words: tuple[str, ...]) -> int:
    """Run COMMAND in NODE and end with its exit status.

    Options of testbed stand before NODE; what follows NODE is the command's own.
    """
    done = Lab.attach(lab_name, runtime).run(node, list(words), timeout_s)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.write(done.stderr)
    return done.status
