"""Take a lab down; --all takes down every lab, and what killed runs left."""

from __future__ import annotations

import click

from testbed.cli import _options
from testbed.cli._runtimes import asked
from testbed.engine.lab import Lab, remove_all
from testbed.errors import UsageError


@click.command("down")
@_options.lab
@_options.runtime
@click.option("--all", "everything", is_flag=True, help="Every lab on this machine, whoever made it, whole or half.")
@click.pass_context
def command(context: click.Context, lab_name: str, runtime: str, everything: bool) -> None:
    """Take a lab down. Fine if there is none: it can be done twice."""
    if everything and context.get_parameter_source("lab_name") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--all means every lab: leave --lab away")
    there = asked(runtime)
    if everything:
        there.name_others()
        removed = remove_all(there.runtimes)
        click.echo(f"removed: {', '.join(removed)}" if removed else f"nothing was left{there.where}")
        there.insist()
        return
    standing = [one for one in there.runtimes if Lab.stands(lab_name, one)]
    if not standing:
        there.name_others()
        there.insist(lab_name)
    for one in standing or there.runtimes[:1]:
        Lab(name=lab_name, runtime=one).down()
    click.echo(f"lab {lab_name} is down" if standing else f"no lab {lab_name} stands{there.where}")
