"""Take a lab down; --all takes down every lab, and what killed runs left."""

from __future__ import annotations

import click

from testbed.cli import _options
from testbed.engine.lab import Lab, remove_all
from testbed.errors import UsageError
from testbed.runtime.choose import choose, working


@click.command("down")
@_options.lab
@_options.runtime
@click.option("--all", "everything", is_flag=True, help="Every lab on this machine, whoever made it, whole or half.")
@click.pass_context
def command(context: click.Context, lab_name: str, runtime: str, everything: bool) -> None:
    """Take a lab down. Fine if there is none: it can be done twice."""
    if everything and context.get_parameter_source("lab_name") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--all means every lab: leave --lab away")
    runtimes = working() if runtime == "auto" else [choose(runtime)]
    if not runtimes:
        choose()  # raises, saying what is missing
    if everything:
        removed = remove_all(runtimes)
        click.echo(f"removed: {', '.join(removed)}" if removed else "nothing was left")
        return
    standing = [one for one in runtimes if Lab.stands(lab_name, one)]
    for one in standing or runtimes[:1]:
        Lab(name=lab_name, runtime=one).down()
    click.echo(f"lab {lab_name} is down" if standing else f"no lab {lab_name} stands")
